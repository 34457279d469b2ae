"""Trackers record the losses, scores and settings of runs: JSON lines, TensorBoard, MLflow, Weights & Biases."""
