"""Loads suite files and resolves them into the cells of the board.

`load` and `load_mapping` read and validate a suite; `resolve` decides which cells can run. They report all problems.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.resolution.cell_resolution import resolve
    from harness.resolution.suite_loader import load, load_mapping

__all__ = ["load", "load_mapping", "resolve"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `harness --help` imports neither pydantic nor torch."""
    if name in ("load", "load_mapping"):
        from harness.resolution import suite_loader

        return getattr(suite_loader, name)
    if name == "resolve":
        from harness.resolution.cell_resolution import resolve

        return resolve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
