"""The built-in formats of a leaderboard, registered as those of any plugin."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from harness import hookimpl
from harness.analysis.citations import bibtex
from harness.analysis.interval_coverage import covers
from harness.analysis.summary import Summary
from harness.api.report import Content, Reporter, Section
from harness.plots import FOLDER, Plot
from harness.reporting import export_rows, latex
from harness.reporting.board import Board
from harness.reporting.formatting import NOTHING
from harness.reporting.table_model import Column, Line

SPECIAL = re.compile(r"(?<!\w)_|_(?!\w)|[*\\|]|<(?=[\w/!?])|\[(?=[^\]]*\]\()")
"""What Markdown would take for more than itself: underscores at the edge of a word, a tag's beginning, a link's."""


@hookimpl
def harness_register_reporters(register: Callable[[str, Reporter], None]) -> None:
    register("md", lambda content: markdown(content.board, content.sections, content.plots))
    register("csv", lambda content: csv(content.summary))
    register("tex", lambda content: latex.document(content.board))
    register("bib", lambda content: bib(content.board))
    register("json", as_json)


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
    if board.citations:
        yield "## Citations"
        yield _folded("BibTeX of the methods above, as in leaderboard.bib", bibtex(board.citations), "bibtex")


def _folded(title: str, code: str, language: str) -> str:
    """A code block that GitHub shows when a reader opens it. Its fence is longer than any inside."""
    fence = max((run + "`" for run in re.findall("`+", code)), key=len, default="").rjust(3, "`")
    return f"<details>\n<summary>{title}</summary>\n\n{fence}{language}\n{code}\n{fence}\n\n</details>"


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
    return table_csv(export_rows.csv_rows(summary))


def table_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; a column for each key."""
    import pandas as pd  # takes half a second, which other formats need not

    return pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n")


def bib(board: Board) -> str:
    """leaderboard.bib: the citations of the methods, for a paper that takes leaderboard.tex."""
    return f"{bibtex(board.citations) or '% No method on this board has a citation.'}\n"


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
        "rows": [export_rows.json_row(row, summary) for row in summary.rows],
        "comparisons": export_rows.comparisons(summary),
        **({"tuning": export_rows.tunings(summary)} if summary.plan.tuning else {}),
        "published": [figure.model_dump() for figure in summary.plan.published],
        "fingerprints": {result.task: result.data_fingerprint for result in summary.results},
        "seeds_alone": _seeds_alone(summary),
        "sections": [{"title": section.title, "text": section.text} for section in content.sections],
        "reading": list(board.reading),
        "provenance": dict(board.provenance),
        "citations": summary.plan.citations,
        "formats": list(content.formats),
    }
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _seeds_alone(summary: Summary) -> dict[str, str]:
    """Task -> why not all of its runs could be resampled."""
    found: dict[str, list[str]] = {}
    for each in summary.unsampled:
        found.setdefault(each.task, []).append(f"{', '.join(each.rows)}: {each.reason}" if each.rows else each.reason)
    return {task: "; ".join(reasons) for task, reasons in found.items()}
