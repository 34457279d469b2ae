"""Writes leaderboard.tex: one table for a paper. It needs the packages booktabs and siunitx."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.analysis.interval_coverage import covers, exceptions, teacher_condition
from harness.analysis.summary import Summary, scale
from harness.reporting.board import Board
from harness.reporting.latex.tex_cells import TexCell, name_cell, number_cell, number_format
from harness.reporting.latex.tex_columns import TexColumn, default_columns, selected
from harness.reporting.latex.tex_text import comment, escape, words
from harness.reporting.table_model import MANY_COLUMNS


def document(summary: Summary, board: Board, names: Sequence[str] = ()) -> str:
    """Return the table, for use with ``\\input``. `names` selects its columns; empty: those that fit on a page.

    Raises:
        UserError: a column is unknown.
    """
    columns = selected(summary, board, names or default_columns(summary))
    cells = [_cells(column, board) for column in columns]
    marks = {mark for column in cells for cell in column for mark in cell.marks}
    return "\n".join(
        [
            *(comment(f"{name}: {text}") for name, text in board.provenance),
            *_citations(board),
            r"% \usepackage{booktabs, siunitx}",
            r"\begin{table*}[t]",
            r"\centering",
            rf"\caption{{{_caption(summary, columns)}}}",
            rf"\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', summary.plan.suite).strip('-')}}}",
            r"\footnotesize",
            rf"\setlength{{\tabcolsep}}{{{2 if len(columns) > MANY_COLUMNS else 3}pt}}",
            r"\sisetup{detect-weight, table-align-text-post=false}",
            rf"\begin{{tabular}}{{@{{}}{''.join(map(_alignment, columns, cells))}@{{}}}}",
            r"\toprule",
            rf"{' & '.join(f'{{{escape(column.title)}}}' for column in columns)} \\",
            r"\midrule",
            *_rows(board, columns, cells),
            r"\bottomrule",
            r"\end{tabular}",
            *_below(summary, board, marks),
            r"\end{table*}",
            "",
        ]
    )


def _citations(board: Board) -> Iterator[str]:
    """Yield the methods' ``\\cite`` commands, with the keys of leaderboard.bib."""
    for entry in board.citations:
        if entry.key:
            yield comment(rf"Cite {', '.join(entry.methods)} with \cite{{{entry.key}}}, from leaderboard.bib")


def _cells(column: TexColumn, board: Board) -> list[TexCell]:
    if column.kind == "name":
        return [name_cell(text, line) for text, line in zip(column.cells, board.lines, strict=True)]
    return [TexCell("", escape(text)) if column.kind == "text" else number_cell(text) for text in column.cells]


def _alignment(column: TexColumn, cells: Sequence[TexCell]) -> str:
    if any(cell.number for cell in cells):
        return f"S[{number_format(cells)}]"
    return "r" if column.kind == "number" else "l"


def _rows(board: Board, columns: Sequence[TexColumn], cells: Sequence[Sequence[TexCell]]) -> Iterator[str]:
    for index, line in enumerate(board.lines):
        if index and board.lines[index - 1].group != line.group:
            yield r"\midrule"
        texts = (of[index].tex(bold=index in column.best) for column, of in zip(columns, cells, strict=True))
        yield " & ".join(texts) + r" \\"


def _caption(summary: Summary, columns: Sequence[TexColumn]) -> str:
    return words(" ".join([*_scores(summary), *(column.caption for column in columns if column.caption)]))


def _scores(summary: Summary) -> Iterator[str]:
    """Yield sentences on what was scored, on the intervals, and on the marks of every table."""
    plan = summary.plan
    metrics: dict[str, list[str]] = {}
    for task in plan.tasks:
        metrics.setdefault(task.score.replace("_", " ").replace("f1", "F1"), []).append(task.name)
    on = "; ".join(f"{metric} on {', '.join(tasks)}" for metric, tasks in metrics.items())
    students = f"the student {plan.students[0]}" if len(plan.students) == 1 else "the students"
    yield f"Scores of {students} by method: {on}."
    raw = [task.name for task in plan.tasks if scale(task) == 1]
    times = ", times 100" + (f" except on {', '.join(raw)}" if raw else "") if len(raw) < len(plan.tasks) else ""
    seeds = f"Mean over {len(plan.seeds)} seeds" if len(plan.seeds) > 1 else "One seed"
    known = any(cell.score and cell.score.margin is not None for row in summary.rows for cell in row.cells.values())
    over = covers(plan) if len(plan.seeds) > 1 else f"examples{teacher_condition(plan)}"
    interval = f"; subscript: the 95 % confidence interval over {over}, its longer side or its ends" if known else ""
    yield f"{seeds}{times}{interval}."
    yield "Bold: the best of its student." if len(plan.students) > 1 else "Bold: the best method."


def _below(summary: Summary, board: Board, marks: set[str]) -> Iterator[str]:
    """Yield the notes of the marks in the table, the intervals that cover less, and the limitations of the board."""
    letters = {f"({mark})": f"$^{{{mark}}}$" for mark, _ in board.notes}
    notes = [
        f"{letters.get(mark, escape(mark))} {words(_sentence(text))}"
        for mark, text in board.footnotes
        if mark.strip("()") in marks
    ]
    notes += [words(text) for text in exceptions(summary)]
    notes += [words(_sentence(text)) for _, text in board.marks]
    if notes:
        yield r"\par\smallskip"
        yield r"\begin{minipage}{\linewidth}\raggedright"
        yield "\\par\n".join(notes)
        yield r"\end{minipage}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."
