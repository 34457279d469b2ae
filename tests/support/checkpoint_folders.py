"""Folders of checkpoints for tests that look at shapes alone."""

import json
import struct
from pathlib import Path

import torch
from transformers import AutoModel, PretrainedConfig

from harness.models import tokenizers


def save_without_values(config: PretrainedConfig, folder: Path) -> None:
    """A complete checkpoint for the configuration: config.json, a tokenizer of a few tokens, and a weights file whose
    header is true and whose values are a hole that takes no room on disk."""
    config.save_pretrained(folder)
    tokenizers.whole_word(["a film"]).save_pretrained(folder)
    with torch.device("meta"):
        weights = AutoModel.from_config(config).state_dict()
    header, end = {}, 0
    for name, tensor in weights.items():
        begin, end = end, end + 4 * tensor.numel()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
