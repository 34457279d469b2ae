"""Built-in leaderboard formats: Markdown, CSV, LaTeX, BibTeX and JSON. They register through the reporter hook."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from harness import hookimpl
from harness.analysis.citations import bibtex
from harness.analysis.interval_coverage import covers
from harness.analysis.score_format import NOTHING
from harness.analysis.summary import Summary
from harness.api.report import Content, Reporter, Section
from harness.plots import FOLDER, Plot
from harness.reporting import export_rows
from harness.reporting.board import Board
from harness.reporting.latex import tex_table
from harness.reporting.table_model import Column, Line

SPECIAL = re.compile(r"(?<!\w)_|_(?!\w)|[*\\|]|<(?=[\w/!?])|\[(?=[^\]]*\]\()")
"""Characters that Markdown would interpret: underscores at the edge of a word, the start of a tag or a link."""


@hookimpl
def harness_register_reporters(register: Callable[[str, Reporter], None]) -> None:
    register("md", lambda content: markdown(content.board, content.sections, content.plots))
    register("csv", lambda content: csv(content.summary))
    register("tex", lambda content: tex_table.document(content.summary, content.board))
    register("bib", lambda content: bib(content.board))
    register("json", as_json)


def markdown(board: Board, sections: Sequence[Section] = (), plots: Sequence[Plot] = ()) -> str:
    """Return the text of leaderboard.md, readable as plain text and as rendered by GitHub."""
    return "\n\n".join(_parts(board, sections, plots)) + "\n"


def _parts(board: Board, sections: Sequence[Section], plots: Sequence[Plot]) -> Iterator[str]:
    yield from _first_table(board)
    for secondary in board.tables:
        yield f"## {secondary.title}"
        yield table(secondary.columns, secondary.lines)
    if plots:
        yield "## Plots"
        yield from (_picture(plot) for plot in plots)
    yield from (section.markdown for section in sections)
    yield "## How to read it"
    yield _bullets(_escaped(text) for text in board.reading)
    yield "## Where it comes from"
    yield _bullets(f"{name}: {_escaped(text)}" for name, text in board.provenance)
    if board.citations:
        yield "## Citations"
        yield _folded_bibtex(bibtex(board.citations))


def first_table(board: Board) -> Iterator[str]:
    """Yield the paragraphs of the beginning of leaderboard.md, up to the notes of the first table, then the verdict."""
    yield from _first_table(board)
    if board.verdict:
        yield _bullets(map(_escaped, board.verdict))


def _first_table(board: Board) -> Iterator[str]:
    yield f"# {_escaped(board.title)}"
    if board.marks:
        yield _bullets(f"**{word}**: {_escaped(text)}" for word, text in board.marks)
    yield table(board.columns, board.lines)
    if board.notes:
        yield _bullets(f"{mark} {_escaped(text)}" for mark, text in board.footnotes)


def _folded_bibtex(code: str) -> str:
    """Return a code block that GitHub shows collapsed. Its fence is longer than any run of backticks in the code."""
    fence = max((run + "`" for run in re.findall("`+", code)), key=len, default="").rjust(3, "`")
    title = "BibTeX of the methods above, as in leaderboard.bib"
    return f"<details>\n<summary>{title}</summary>\n\n{fence}bibtex\n{code}\n{fence}\n\n</details>"


def _picture(plot: Plot) -> str:
    """Return Markdown that shows the PNG and links to the SVG. Brackets would end the alt text, so escape them."""
    alt = re.sub(r"(?<!\\)[\[\]]", r"\\\g<0>", _escaped(plot.alt))
    return f"[![{alt}]({FOLDER}/{plot.name}.png)]({FOLDER}/{plot.name}.svg)"


def _bullets(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def table(columns: Sequence[Column], lines: Sequence[Line]) -> str:
    """Return a Markdown table: all rows but students in italics, an empty row between groups."""
    rows: list[list[str]] = []
    for previous, line in zip((None, *lines), lines, strict=False):
        if previous is not None and previous.group != line.group:
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
    """Escape a table cell. A bar would end the cell even inside code."""
    return re.sub(r"(?<!\\)\|", r"\|", _escaped(text))


def _escaped(text: str) -> str:
    """Escape text so that Markdown shows it literally: no emphasis, links or HTML. `code` stays code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if index % 2 else SPECIAL.sub(r"\\\g<0>", part) for index, part in enumerate(parts))


def csv(summary: Summary) -> str:
    """Return the text of leaderboard.csv: one row for each row of the board, in its order and on its scale."""
    return table_csv(export_rows.csv_rows(summary))


def table_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as CSV, with a column for each key."""
    import pandas as pd  # slow to import, and other formats do not need it

    return pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n")


def bib(board: Board) -> str:
    """Return the text of leaderboard.bib: the methods' citations, for papers that include leaderboard.tex."""
    return f"{bibtex(board.citations) or '% No method on this board has a citation.'}\n"


def as_json(content: Content) -> str:
    """Return the text of leaderboard.json: the content of the board as data."""
    summary, board = content.summary, content.board
    document = {
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
        "seeds_only": _seeds_only(summary),
        "sections": [{"title": section.title, "text": section.text} for section in content.sections],
        "reading": list(board.reading),
        "provenance": dict(board.provenance),
        "citations": summary.plan.citations,
        "formats": list(content.formats),
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _seeds_only(summary: Summary) -> dict[str, str]:
    """Return task -> why the examples of some of its runs could not be resampled."""
    by_task: dict[str, list[str]] = {}
    for unsampled in summary.unsampled:
        rows = f"{', '.join(unsampled.rows)}: " if unsampled.rows else ""
        by_task.setdefault(unsampled.task, []).append(rows + unsampled.reason)
    return {task: "; ".join(reasons) for task, reasons in by_task.items()}
