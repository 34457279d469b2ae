"""The suites that are installed with kd-harness. Imports nothing that takes time, since shells complete their names."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

SCHEMA = "suite.schema.json"
"""The JSON Schema of suite files, in the folder of the shipped suites, with the options of the shipped methods."""


def suites_folder() -> Path:
    """The folder of the shipped suites."""
    return Path(str(importlib.resources.files("harness_suites")))


def shipped_suite(path: Path) -> Path | None:
    """The shipped suite that `path` names, with or without ``suites/`` and ``.yaml``; None if there is none."""
    if path.parent in (Path(), Path("suites")) and path.suffix in ("", ".yaml", ".yml"):
        return shipped_suites().get(path.stem)
    return None


def shipped_suites() -> dict[str, Path]:
    """Map the names of the shipped suites (file stems) to their files."""
    return {file.stem: file for file in sorted(suites_folder().glob("*.yaml"))}
