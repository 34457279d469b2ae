"""Refuses checkpoints whose code is in another repository or folder, or may not run.

The fingerprint of a checkpoint has the code in its folder. transformers would take code from elsewhere in the version
that is there when it is loaded, so a result under the same key could come from other code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from harness.api.errors import UserError
from harness.storage.disk_errors import explained

FILES = ("config.json", "tokenizer_config.json")
"""Files whose ``auto_map`` names classes: ``module.Class``, or ``repository or folder--module.Class``."""


def refuse(folder: Path) -> None:
    """Raise `UserError` if a file of the checkpoint in `folder` takes code from another repository or folder."""
    for name in FILES:
        for source in (reference.split("--")[0] for reference in _classes(folder / name) if "--" in reference):
            raise UserError(
                f"{folder / name} takes its code from {source!r}, which is not part of the model and can change:"
                f" download the model to a folder, copy the .py files of {source!r} to it, delete `{source}--` from"
                f" `auto_map` in its {' and '.join(FILES)}, and give this folder"
            )


def reason(error: Exception) -> str:
    """Why transformers cannot load a checkpoint; of one with code that may not run, how to allow it."""
    if "trust_remote_code" not in str(error):
        return str(error)
    return (
        "the model has Python code of its own; read it, and if you trust it, allow it with `trust_remote_code: true` in"
        " a suite, or --trust-remote-code"
    )


def _classes(file: Path) -> Iterator[str]:
    """The classes in the ``auto_map`` of a file; none if it cannot be read, which loading the model reports."""
    try:
        with explained(file, can_be_missing=True):
            content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return
    if isinstance(content, dict):
        yield from _texts(content.get("auto_map"))


def _texts(value: object) -> Iterator[str]:
    """The texts in a class reference, or in a list or mapping of them: a tokenizer has two, or one and null."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
