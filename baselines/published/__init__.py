"""Published figures: results from papers and projects, one YAML file for each source."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from pathlib import Path

from harness import hookimpl


@hookimpl
def harness_register_published(register: Callable[[Path], None]) -> None:
    folder = Path(str(importlib.resources.files(__name__)))
    for file in sorted(folder.glob("*.yaml")):
        register(file)
