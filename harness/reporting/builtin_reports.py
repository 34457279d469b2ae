"""The plugins of the built-in formats and sections of the board.

Each stands for a module with the same hook, which is imported when a report is written. So commands that only look at
plugins start without numpy and pyarrow.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness import hookimpl

if TYPE_CHECKING:
    from harness.analysis.summary import Summary
    from harness.api.report import Content, Reporter, Section

FORMATS = ("md", "csv", "tex", "bib", "json")
"""Names of the formats, each the extension of its file."""


class _Formats:
    """Stands for `harness.reporting.formats`."""

    @hookimpl
    def harness_register_reporters(self, register: Callable[[str, Reporter], None]) -> None:
        for name in FORMATS:
            register(name, partial(_formatted, name))


def _formatted(name: str, content: Content) -> str:
    from harness.reporting.formats import harness_register_reporters

    reporters: dict[str, Reporter] = {}
    harness_register_reporters(reporters.__setitem__)
    return reporters[name](content)


class _Sections:
    """Stands for a module of `harness.reporting.sections`."""

    def __init__(self, module: str) -> None:
        self._module = f"harness.reporting.sections.{module}"

    @hookimpl
    def harness_report_sections(self, results: Summary) -> list[Section]:
        sections: Any = import_module(self._module).harness_report_sections(results)
        return list(sections)


formats = _Formats()
grids = _Sections("grid_effects")
heads = _Sections("head_counts")
tuning = _Sections("tuned_options")
variants = _Sections("method_variants")
