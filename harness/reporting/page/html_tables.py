"""HTML tables of the page: the strings of leaderboard.md, with the numbers that the columns are sorted by."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import count

from harness.analysis.summary import BoardRow, Summary
from harness.reporting.board import Board
from harness.reporting.page.markup import Safe, el, join
from harness.reporting.table_model import FIRST_TASK, MANY_COLUMNS, Column, Line, Table


def measured_rows(summary: Summary) -> tuple[BoardRow, ...]:
    """Return the measured rows of a board in its order. Their indices identify them in the page."""
    return (*summary.teachers, *summary.students)


def leaderboard(summary: Summary, board: Board, runs: Mapping[tuple[int, str], str]) -> Safe:
    """Return the leaderboard. `runs` maps (row index, task) to the id of the run that the cell links to."""
    tasks = [task.name for task in summary.plan.tasks]
    measured = measured_rows(summary)
    extra = _extra_columns(summary, board)
    bodies: dict[str, list[Safe]] = {"teacher": [], "constant": [], "student": [], "published": []}
    measured_indices, other_indices = iter(enumerate(measured)), count(len(measured))
    for position, line in enumerate(board.lines):
        index, row = next(measured_indices) if line.role in ("teacher", "student") else (next(other_indices), None)
        keys = [None] * FIRST_TASK + [runs.get((index, task)) for task in tasks]
        first = _first_of_group(board.lines, position)
        bodies[line.role].append(_row(index, line, row, _values(row, line, summary), keys, first, extra))
    return el(
        "table",
        el("thead", el("tr", [_head(c, i, tasks, extra) for i, c in enumerate(board.columns)])),
        [el("tbody", body, class_=role) for role, body in bodies.items() if body],
        id="leaderboard",
        class_="dense" if len(board.columns) > MANY_COLUMNS else None,
    )


def _extra_columns(summary: Summary, board: Board) -> frozenset[int]:
    """Return the columns that a phone shows only on request: all but rank, method, and average (or the scores)."""
    average = FIRST_TASK + len(summary.plan.tasks)
    scores = {average} if any(row.average for row in measured_rows(summary)) else set(range(FIRST_TASK, average))
    return frozenset(range(len(board.columns))) - {0, 1} - scores


def _first_of_group(lines: Sequence[Line], index: int) -> bool:
    previous = lines[index - 1] if index else None
    return previous is not None and previous.role == lines[index].role and previous.group != lines[index].group


def _head(column: Column, index: int, tasks: Sequence[str], extra: Container[int]) -> Safe:
    first, *rest = column.lines
    task = tasks[index - FIRST_TASK] if 0 <= index - FIRST_TASK < len(tasks) else None
    return el(
        "th",
        el("span", first, class_="title"),
        [el("small", _breakable(line)) for line in rest],
        scope="col",
        class_=_classes("num" * (column.align == "right"), "extra" * (index in extra)),
        data_task=task,
        data_column=column.title,
    )


def _row(
    row_index: int,
    line: Line,
    row: BoardRow | None,
    values: Sequence[float | str | None],
    keys: Sequence[str | None],
    first: bool,
    extra: Container[int],
) -> Safe:
    cells = []
    for index, (text, value) in enumerate(zip(line.cells, values, strict=True)):
        classes = ("best" * (index in line.best), "num" * (index not in (1, 2)), "extra" * (index in extra))
        cells.append(
            el(
                "th" if index == 1 else "td",
                _cell(text),
                scope="row" if index == 1 else None,
                class_=_classes(*classes),
                data_of=line.cells[2] if index == 1 and row and row.student else None,
                data_v=None if value is None else value if isinstance(value, str) else repr(round(value, 9)),
                data_run=keys[index] if index < len(keys) else None,
            )
        )
    group = "first " * first + "top" * bool(row and row.top)
    return el(
        "tr",
        cells,
        id=f"row-{row_index}",
        class_=group.strip() or None,
        data_student=row.student if row else line.cells[2],
    )


def _classes(*names: str) -> str | None:
    return " ".join(filter(None, names)) or None


def _breakable(name: str) -> Safe:
    """Return a name such as ``matthews_correlation`` that may break after an underscore."""
    first, *rest = name.split("_")
    return join([first, *(part for word in rest for part in ("_", el("wbr"), word))])


def _cell(text: str) -> Safe | str:
    """Return a score with its suffix (± 0.4, [1.5, 1.7], †, ‡, (a)) in small type."""
    match = re.fullmatch(r"(-?[\d.]+×?)( (?:±|\[|†|‡|\().*)", text)
    return el("span", match[1], el("small", match[2])) if match else text


def _values(row: BoardRow | None, line: Line, summary: Summary) -> list[float | str | None]:
    """Return the value that each column is sorted by."""
    if row is None:  # not measured here: only the printed numbers are known
        numbers = [re.match(r"-?\d+(\.\d+)?", cell) for cell in line.cells]
        printed: list[float | str | None] = [float(number[0]) if number else None for number in numbers]
        return [None, line.cells[1], line.cells[2], *printed[FIRST_TASK:]]
    scores = [row.cells[task.name].score for task in summary.plan.tasks]
    speed_ups = [column.of.get((row.role, row.student or row.label)) for column in summary.speed_ups]
    return [
        row.rank,
        row.label,
        row.student or None,
        *(score.mean if score else None for score in (*scores, row.average)),
        row.parameters[1] if row.parameters else None,
        *(ratio.median if ratio else None for ratio in speed_ups),
    ]


def secondary_tables(tables: Sequence[Table]) -> Iterator[Safe]:
    """Yield the secondary tables, each collapsed."""
    for table in tables:
        yield el(
            "details", el("summary", table.title), scrollable(static_table(table.columns, table.lines), table.title)
        )


def static_table(columns: Sequence[Column], lines: Sequence[Line]) -> Safe:
    """Return a table that cannot be sorted or filtered."""
    aligned = ["num" if column.align == "right" else None for column in columns]
    head = [el("th", c.title, scope="col", class_=a) for c, a in zip(columns, aligned, strict=True)]
    body = [
        el("tr", [el("td", cell, class_=a) for cell, a in zip(line.cells, aligned, strict=True)], class_=line.role)
        for line in lines
    ]
    return el("table", el("thead", el("tr", head)), el("tbody", body))


def scrollable(table: Safe, title: str) -> Safe:
    """Wrap a wide table in a box that scrolls, and that the keyboard can focus."""
    return el("div", table, class_="scroll", tabindex="0", role="region", aria_label=title)
