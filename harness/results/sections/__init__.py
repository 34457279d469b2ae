"""Sections of a report: what they hold, and how they are asked for and written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.suite.schema import NAME

if TYPE_CHECKING:
    from harness.host import Host
    from harness.results.summary import Summary

FOLDER = "sections"
"""Below the results: where the data of sections go."""


@dataclass(frozen=True)
class Section:
    """A part of leaderboard.md that a plugin makes of the results.

    Attributes:
        title: its heading, without markup.
        text: Markdown below the heading, which holds no heading above the third level.
        file: the name of its data, without suffix: ``sections/<file>.csv``. Sections of one name share the file.
        rows: its data, a row each, unrounded; none: no file.
    """

    title: str
    text: str
    file: str = ""
    rows: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if self.rows and not re.match(NAME, self.file):
            raise ValueError(f"section {self.title!r} has rows, and {self.file!r} is no name of a file for them")

    @property
    def markdown(self) -> str:
        return f"## {self.title}\n\n{self.text.strip()}"


def collect(host: Host, results: Summary) -> tuple[Section, ...]:
    """What the plugins have to say of the results, in the order of the plugins. One that fails is logged and left out,
    with all of its sections."""
    return tuple(host.ask("harness_report_sections", results, _read))


def _read(answer: Any) -> list[Section]:
    if not (isinstance(answer, list) and all(isinstance(each, Section) for each in answer)):
        raise TypeError(f"a list of harness.results.sections.Section is needed, found {answer!r:.80}")
    return answer


def data(sections: Iterable[Section]) -> dict[str, list[Mapping[str, Any]]]:
    """File name -> the rows of all sections that share it."""
    files: dict[str, list[Mapping[str, Any]]] = {}
    for section in sections:
        if section.rows:
            files.setdefault(section.file, []).extend(section.rows)
    return files
