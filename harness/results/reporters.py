"""The formats of a leaderboard. A format is a function from what there is to say to a text; plugins may bring more."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from harness.results import data, latex
from harness.results.board import Board
from harness.results.coverage import covers
from harness.results.numbers import NOTHING
from harness.results.plots import FOLDER, Plot
from harness.results.sections import Section
from harness.results.summary import Summary
from harness.results.tables import Column, Line

if TYPE_CHECKING:
    from harness.host import Host


@dataclass(frozen=True)
class Content:
    """What a report is made of: the numbers, the same as strings, the sections of plugins, and the plots; and the names
    of the formats that it is written in."""

    summary: Summary
    board: Board
    sections: Sequence[Section] = ()
    plots: Sequence[Plot] = ()
    formats: Sequence[str] = ()


Reporter = Callable[[Content], str]
"""Gives the whole text of ``leaderboard.<name>``, a function of the content alone: same results, same bytes."""


ENDING = re.compile(r"[a-z0-9]+")
"""What a format may be called."""

SPECIAL = re.compile(r"(?<!\w)_|_(?!\w)|[*\\|]|<(?=[\w/!?])|\[(?=[^\]]*\]\()")
"""What Markdown would take for more than itself: underscores at the edge of a word, a tag's beginning, a link's."""


def reporters(host: Host) -> dict[str, Reporter]:
    """Every format by name: ours, and those of the host's plugins."""
    return {**OURS, **host.reporters}


def faults(name: object, reporter: object) -> Iterator[str]:
    """What is wrong with a plugin's format."""
    if not isinstance(name, str) or not ENDING.fullmatch(name):
        yield f"format {name!r} is no ending of a file: lower-case letters and digits are allowed"
    elif name in OURS:
        yield f"format {name!r} is the harness's own"
    if not callable(reporter):
        yield f"format {name!r}: a function of harness.results.reporters.Content is needed, found {reporter!r:.80}"


def markdown(board: Board, sections: Sequence[Section] = (), plots: Sequence[Plot] = ()) -> str:
    """leaderboard.md. It reads well as it is, and as GitHub shows it."""
    return "\n\n".join(_parts(board, sections, plots)) + "\n"


def _parts(board: Board, sections: Sequence[Section], plots: Sequence[Plot]) -> Iterator[str]:
    yield f"# {_escaped(board.title)}"
    if board.marks:
        yield _listed(f"**{word}**: {_escaped(text)}" for word, text in board.marks)
    yield table(board.columns, board.lines)
    if board.notes:
        yield _listed(f"{mark} {_escaped(text)}" for mark, text in board.footnotes)
    for each in board.tables:
        yield f"## {each.title}"
        yield table(each.columns, each.lines)
    if plots:
        yield "## Plots"
        yield from (_picture(plot) for plot in plots)
    yield from (section.markdown for section in sections)
    yield "## How to read it"
    yield _listed(_escaped(text) for text in board.reading)
    yield "## Where it comes from"
    yield _listed(f"{what}: {_escaped(text)}" for what, text in board.provenance)


def _picture(plot: Plot) -> str:
    """The PNG, which leads to the SVG. What stands in brackets ends at one, and a line at no emphasis."""
    alt = re.sub(r"(?<!\\)[\[\]]", r"\\\g<0>", _escaped(plot.alt))
    return f"[![{alt}]({FOLDER}/{plot.name}.png)]({FOLDER}/{plot.name}.svg)"


def _listed(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def table(columns: Sequence[Column], lines: Sequence[Line]) -> str:
    """A Markdown table: all but students in italics, an empty row between groups."""
    rows: list[list[str]] = []
    for before, line in zip((None, *lines), lines, strict=False):
        if before is not None and before.group != line.group:
            rows.append([""] * len(columns))
        rows.append(_marked(line))
    return tabulate(
        rows,
        headers=[_cell(column.title) for column in columns],
        tablefmt="pipe",
        colalign=[column.align for column in columns],
        disable_numparse=True,
    )


def _marked(line: Line) -> list[str]:
    cells = [_cell(cell) for cell in line.cells]
    if line.role != "student":
        return [f"*{cell}*" if index < 2 and cell != NOTHING else cell for index, cell in enumerate(cells)]
    return [f"**{cell}**" if index in line.best else cell for index, cell in enumerate(cells)]


def _cell(text: str) -> str:
    """As `_escaped`, of a cell, which a bar would end even in code."""
    return re.sub(r"(?<!\\)\|", r"\|", _escaped(text))


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is: nothing of it is emphasis, a link or HTML. `code` stays code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if odd % 2 else SPECIAL.sub(r"\\\g<0>", part) for odd, part in enumerate(parts))


def csv(summary: Summary) -> str:
    """leaderboard.csv: one row for each teacher, for the constant answer if there is one, and for each (label,
    student), in the board's order and on its scale."""
    return table_csv(data.flat(summary))


def table_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; a column for each key."""
    import pandas as pd  # takes half a second, which other formats need not

    return pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n")


def as_json(content: Content) -> str:
    """leaderboard.json: all that the board says, as data."""
    summary, board = content.summary, content.board
    whole = {
        "schema_version": 1,
        "suite": summary.plan.suite,
        "title": board.title,
        "command": summary.plan.command,
        "seeds": summary.plan.seeds,
        "intervals_over": covers(summary.plan),
        "marks": dict(board.marks),
        "rows": [data.nested(row, summary) for row in summary.rows],
        "comparisons": data.comparisons(summary),
        **({"tuning": data.tunings(summary)} if summary.plan.tuning else {}),
        "published": [figure.model_dump() for figure in summary.plan.published],
        "fingerprints": {result.task: result.data_fingerprint for result in summary.results},
        "seeds_alone": _seeds_alone(summary),
        "sections": [{"title": section.title, "text": section.text} for section in content.sections],
        "reading": list(board.reading),
        "provenance": dict(board.provenance),
        "formats": list(content.formats),
    }
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _seeds_alone(summary: Summary) -> dict[str, str]:
    """Task -> why not all of its runs could be resampled."""
    found: dict[str, list[str]] = {}
    for each in summary.unsampled:
        found.setdefault(each.task, []).append(f"{', '.join(each.rows)}: {each.reason}" if each.rows else each.reason)
    return {task: "; ".join(reasons) for task, reasons in found.items()}


OURS: Mapping[str, Reporter] = {
    "md": lambda content: markdown(content.board, content.sections, content.plots),
    "csv": lambda content: csv(content.summary),
    "tex": lambda content: latex.document(content.board),
    "json": as_json,
}
"""The formats that every report is written in, by the ending of their file."""
