"""Collects the sections of a report from the plugins, and the rows of their CSV files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from harness.api.report import Section

if TYPE_CHECKING:
    from harness.analysis.summary import Summary
    from harness.plugin_host.host import Host

FOLDER = "sections"
"""Folder of the sections' CSV files, relative to the results."""


def collect(host: Host, results: Summary) -> tuple[Section, ...]:
    """Return the plugins' sections on the results, in plugin order. A plugin that fails is logged and skipped."""
    return tuple(host.collect_results("harness_report_sections", results, _validated))


def _validated(answer: Any) -> list[Section]:
    if not (isinstance(answer, list) and all(isinstance(section, Section) for section in answer)):
        raise TypeError(f"expected a list of harness.api.report.Section, got {answer!r:.80}")
    return answer


def data(sections: Iterable[Section]) -> dict[str, list[Mapping[str, Any]]]:
    """Return file name -> the rows of all sections that write to it."""
    files: dict[str, list[Mapping[str, Any]]] = {}
    for section in sections:
        if section.rows:
            files.setdefault(section.file, []).extend(section.rows)
    return files
