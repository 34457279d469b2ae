"""The weights of trained students, in their files, which is a hundred times as fast as to load the models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.storage import checksums
from harness.storage.store import Store


def student_weights(store: Store, key: str) -> dict[str, Tensor]:
    """The weights of the exported student of a run, by name."""
    return load_file(store.run_folder(key) / "student" / "model.safetensors")


def assert_same_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """Both have the same names and bits."""
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], tensor) for name, tensor in other.items())


def change_student(result: Path) -> None:
    """Give the student of a result other weights under the same key, as training it again on a GPU may do."""
    path = result / "student" / "model.safetensors"
    save_file({name: tensor * 1.5 for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
    checksums.add(result, path)
