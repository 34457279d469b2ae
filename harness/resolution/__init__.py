"""Loads suite files and resolves them into the cells of the board.

`load` reads and validates a suite; `resolve` decides which cells can run. Both report all problems at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.resolution.cell_resolution import resolve
    from harness.resolution.suite_loader import load

__all__ = ["load", "resolve"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `harness --help` imports neither pydantic nor torch."""
    if name == "load":
        from harness.resolution.suite_loader import load

        return load
    if name == "resolve":
        from harness.resolution.cell_resolution import resolve

        return resolve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
