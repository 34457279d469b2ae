"""The weights of trained students, read from their files, which is a hundred times as fast as to load the models."""

from __future__ import annotations

from safetensors.torch import load_file
from torch import Tensor

from harness.storage.store import Store


def student_weights(store: Store, key: str) -> dict[str, Tensor]:
    """The weights of the exported student of a run, by name."""
    return load_file(store.run_folder(key) / "student" / "model.safetensors")
