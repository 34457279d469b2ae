"""The columns that leaderboard.tex can have, and those that it has by default."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from harness.analysis.score_format import NOTHING, interval, spread
from harness.analysis.speed_up import machine
from harness.analysis.summary import BoardRow, Summary
from harness.api.errors import UserError, nearest
from harness.reporting.board import TOP, Board
from harness.reporting.formatting import duration, gap_closed
from harness.reporting.secondary_tables import behind_the_best
from harness.reporting.table_model import FIRST_TASK, Line

COLUMNS = (
    "rank",
    "method",
    "student",
    "tasks",
    "average",
    "params",
    "speed-up",
    "iqm",
    "gap",
    "behind",
    "p",
    "std",
    "compression",
    "cost",
    "tuning",
    "runs",
    "protocol",
)
"""Names of columns. The name of a task selects its column, too; ``tasks`` selects the columns of all tasks."""

MANY_TASKS = 4
"""Number of tasks beyond which a table with parameters and speed-up is wider than a page."""


@dataclass(frozen=True)
class TexColumn:
    """A column of the table.

    Attributes:
        title: its heading, plain text.
        cells: the board's strings, one for each line of the board.
        best: the lines that are the best of their student in this column.
        kind: ``name`` of a row, ``text`` (left-aligned), or ``number`` (with interval and marks, or text without one).
        caption: what its numbers are; empty if the caption says so anyway.
    """

    title: str
    cells: tuple[str, ...]
    best: frozenset[int] = frozenset()
    kind: Literal["name", "text", "number"] = "number"
    caption: str = ""


def default_columns(summary: Summary) -> tuple[str, ...]:
    """Return the names of the columns that fit on a page: with few tasks also parameters and speed-up."""
    plan = summary.plan
    student = ("student",) if len(plan.students) > 1 else ()
    average = ("average",) if len(plan.tasks) > 1 else ()
    sizes = ("params", *(("speed-up",) if summary.speed_ups else ())) if len(plan.tasks) <= MANY_TASKS else ()
    return ("method", *student, "tasks", *average, *sizes)


def selected(summary: Summary, board: Board, names: Sequence[str]) -> list[TexColumn]:
    """Return the named columns in the order of `names`.

    Raises:
        UserError: a name is neither in `COLUMNS` nor a task of the board.
    """
    return [column for name in names for column in _columns(summary, board, name, with_rank="rank" in names)]


def _columns(summary: Summary, board: Board, name: str, *, with_rank: bool) -> Iterator[TexColumn]:
    tasks = [task.name for task in summary.plan.tasks]
    after_tasks = FIRST_TASK + len(tasks)
    if name == "method":
        yield TexColumn("Method", tuple(_method(line, with_rank) for line in board.lines), kind="name")
    elif name == "rank":
        ranks = (line.cells[0] if line.role == "student" else "" for line in board.lines)
        yield TexColumn("Rank", tuple(ranks))
    elif name == "student":
        yield TexColumn("Student", _board_cells(board, 2), kind="text")
    elif name == "tasks":
        for index, task in enumerate(tasks, start=FIRST_TASK):
            yield _board_column(board, index, task)
    elif name == "average":
        yield _board_column(board, after_tasks, "Average", _excluded(summary))
    elif name == "params":
        yield _board_column(board, after_tasks + 1, "Params (M)", "Params: parameters in millions.")
    elif name == "speed-up":
        yield from _speed_ups(summary, board, after_tasks + 2)
    elif name in COLUMNS:
        yield _of_rows(summary, board, name)
    elif name in tasks:
        yield _board_column(board, FIRST_TASK + tasks.index(name), name)
    else:
        allowed = [*COLUMNS, *(task for task in tasks if task not in COLUMNS)]
        hint = nearest(name, allowed)
        listed = "" if hint.startswith("allowed") else f" Allowed: {', '.join(allowed)}"
        raise UserError(f"--columns: unknown column {name!r}; {hint}{listed}")


def _board_cells(board: Board, index: int) -> tuple[str, ...]:
    return tuple(line.cells[index] for line in board.lines)


def _board_column(board: Board, index: int, title: str, caption: str = "") -> TexColumn:
    best = frozenset(place for place, line in enumerate(board.lines) if index in line.best)
    return TexColumn(title, _board_cells(board, index), best, caption=caption)


def _method(line: Line, with_rank: bool) -> str:
    """Return the label, with the mark of the top group where no rank has it."""
    top = f" {TOP}" if not with_rank and line.cells[0].endswith(TOP) else ""
    return line.cells[1] + top


def _excluded(summary: Summary) -> str:
    diagnostic = [task.name for task in summary.plan.tasks if task.diagnostic]
    return f"The average excludes {', '.join(diagnostic)}." if diagnostic else ""


def _speed_ups(summary: Summary, board: Board, start: int) -> Iterator[TexColumn]:
    for index, column in enumerate(summary.speed_ups, start=start):
        title = "Speed-up" if len(summary.speed_ups) == 1 else f"Speed-up, {column.label}"
        caption = (
            f"{title}: time of {column.reference} over that of the model ({column.backend}, {column.batch}, "
            f"{machine(column.hardware)}), with its 95 % interval."
        )
        yield _board_column(board, index, title, caption)


def _of_rows(summary: Summary, board: Board, name: str) -> TexColumn:
    """Return a column that is not in the first table of the board. Published figures have no value in it."""
    title, text, caption = _row_columns(summary)[name]
    pairs = zip_longest(summary.rows, board.lines)
    cells = tuple(NOTHING if row is None else text(row) for row, _ in pairs)
    return TexColumn(title, cells, kind="text" if name == "protocol" else "number", caption=caption)


RowColumn = tuple[str, Callable[[BoardRow], str], str]
"""Title, text of a row, and caption of a column."""


def _row_columns(summary: Summary) -> Mapping[str, RowColumn]:
    """Return the columns of the board's secondary tables."""
    behind = behind_the_best(summary)
    nothing = (NOTHING, NOTHING)
    protocols = {label: planned.protocol for label, planned in summary.plan.rows.items()}
    return {
        "iqm": (
            "IQM",
            lambda row: interval(row.iqm),
            "IQM: interquartile mean over tasks and seeds, in percent of the teacher's score.",
        ),
        "gap": (
            "Gap closed (%)",
            lambda row: gap_closed(row.gap).replace(" %", ""),
            "Gap closed: share of the difference between the student trained without a teacher and the teacher.",
        ),
        "behind": (
            "Difference",
            lambda row: behind.get((row.label, row.student), nothing)[0],
            "Difference: paired difference of the average from the best of the same student, with its 95 % interval.",
        ),
        "p": (
            "p",
            lambda row: behind.get((row.label, row.student), nothing)[1],
            "p: of the difference from the best average of the same student, Holm-corrected.",
        ),
        "std": ("Std", lambda row: spread(row.average), "Std: standard deviation of the average over seeds."),
        "compression": (
            "Compression",
            lambda row: NOTHING if row.compression is None else f"{row.compression:.1f}×",
            "Compression: parameters of the teacher over those of the student.",
        ),
        "cost": (
            "Training",
            lambda row: duration(row.training_seconds),
            "Training: time of all runs of the row, including the teacher's forward passes.",
        ),
        "tuning": ("Tuning", lambda row: duration(row.tuning_seconds), "Tuning: time of all trials of the row."),
        "runs": ("Runs", lambda row: f"{row.completed} of {row.runs}" if row.runs else NOTHING, ""),
        "protocol": ("Protocol", lambda row: protocols.get(row.label) or NOTHING, ""),
    }
