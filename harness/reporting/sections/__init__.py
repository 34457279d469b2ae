"""Collects the sections of a report from the plugins, and the data that are written beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from harness.api.report import Section

if TYPE_CHECKING:
    from harness.analysis.summary import Summary
    from harness.plugin_host.host import Host

FOLDER = "sections"
"""Below the results: where the data of sections go."""


def collect(host: Host, results: Summary) -> tuple[Section, ...]:
    """What the plugins have to say of the results, in the order of the plugins. One that fails is logged and left out,
    with all of its sections."""
    return tuple(host.collect_results("harness_report_sections", results, _read))


def _read(answer: Any) -> list[Section]:
    if not (isinstance(answer, list) and all(isinstance(each, Section) for each in answer)):
        raise TypeError(f"a list of harness.api.report.Section is needed, found {answer!r:.80}")
    return answer


def data(sections: Iterable[Section]) -> dict[str, list[Mapping[str, Any]]]:
    """File name -> the rows of all sections that share it."""
    files: dict[str, list[Mapping[str, Any]]] = {}
    for section in sections:
        if section.rows:
            files.setdefault(section.file, []).extend(section.rows)
    return files
