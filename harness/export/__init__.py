"""Exports students as folders that work without the harness: model, tokenizer, ONNX, model card."""
