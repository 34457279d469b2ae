"""Ways in which the weights of a checkpoint do not suffice for predictions."""

import json
from pathlib import Path

from safetensors.torch import load_file, save_file


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])


def remove(folder: Path, part: str) -> None:
    """Remove the tensors whose name contains `part`."""
    file = folder / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(file).items() if part not in name}
    save_file(kept, file, metadata={"format": "pt"})


def configure(folder: Path, **fields: object) -> None:
    """Change fields of config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
