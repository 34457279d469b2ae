"""Builds the leaderboard of a `Summary` as plain data: columns, rows of strings, notes and further tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, product
from string import ascii_lowercase

from harness.analysis import board_marks, published_rows
from harness.analysis.citations import BibEntry, entries
from harness.analysis.ranking import lead
from harness.analysis.score_format import NOTHING, score
from harness.analysis.summary import BoardRow, ScoreCell, Statistic, Summary
from harness.reporting import captions, provenance_lines, secondary_tables, verdict
from harness.reporting.formatting import millions, speed_up
from harness.reporting.table_model import FIRST_TASK, Column, Line, Table
from harness.storage.plan_file import PlannedTask, PublishedFigure

TOP = "●"
"""Follows the rank of a row in the top group of its student."""

IDLE = "†"
"""Follows a score that is no better than the constant answer's."""

COLLAPSED = "‡"
"""Follows a score of which some seeds collapsed."""


@dataclass(frozen=True)
class Board:
    """The content of a leaderboard. Every text is one line; its only markup is `code` in backticks.

    Attributes:
        marks: limitations of the whole board, as (word, explanation), such as ("SYNTHETIC", ...).
        notes: footnotes of cells, as (mark, text); a cell ends with its marks, letters in brackets.
        reading: explanations of the numbers.
        provenance: origin of the results, as (name, text).
        tables: the tables below the first one.
        verdict: the best row of each student: by how much, how certain and how fast, a sentence for each.
        citations: BibTeX entries of the methods.
    """

    title: str
    marks: tuple[tuple[str, str], ...]
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[tuple[str, str], ...]
    reading: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...] = ()
    citations: tuple[BibEntry, ...] = ()
    verdict: tuple[str, ...] = ()

    @property
    def footnotes(self) -> list[tuple[str, str]]:
        """The notes, with their marks formatted as in the cells."""
        return [(mark if mark in (TOP, IDLE, COLLAPSED) else f"({mark})", text) for mark, text in self.notes]


def build(summary: Summary) -> Board:
    """Build the board of a summary."""
    notes = _Notes()
    marks = tuple(board_marks.marks(summary))
    columns = tuple(_columns(summary))
    best = _best(summary)
    lines = [
        Line(row.role, row.student, _strings(row, summary, notes), frozenset(best.get((row.label, row.student), ())))
        for row in summary.rows
    ]
    lines += _published(summary, notes, columns)
    top = [(TOP, captions.group(summary))] if any(row.top is not None for row in summary.students) else []
    idle = [(IDLE, captions.IDLE)] if any(IDLE in cell for line in lines for cell in line.cells[FIRST_TASK:]) else []
    collapsed = [(COLLAPSED, text)] if (text := board_marks.collapsed(summary)) else []
    return Board(
        title=": ".join([summary.plan.suite, "leaderboard"]) + _bracketed(word for word, _ in marks),
        marks=marks,
        columns=columns,
        lines=tuple(lines),
        notes=(*top, *idle, *collapsed, *((mark, text) for text, mark in notes.marks.items())),
        reading=tuple(captions.reading(summary)),
        provenance=tuple(provenance_lines.provenance(summary)),
        tables=tuple(secondary_tables.tables(summary)),
        citations=entries(summary.plan.citations),
        verdict=tuple(verdict.sentences(summary)),
    )


class _Notes:
    """Assigns a letter to each distinct note, in order of first use."""

    def __init__(self) -> None:
        self.marks: dict[str, str] = {}
        self._letters = ("".join(letters) for n in count(1) for letters in product(ascii_lowercase, repeat=n))

    def mark(self, texts: Sequence[str]) -> str:
        for text in texts:
            if text not in self.marks:
                self.marks[text] = next(self._letters)
        return _bracketed(self.marks[text] for text in texts)


def _bracketed(words: Iterable[str]) -> str:
    inside = ", ".join(words)
    return f" ({inside})" if inside else ""


def _columns(summary: Summary) -> Iterator[Column]:
    yield Column(("rank",))
    yield Column(("method",), "left")
    yield Column(("student",), "left")
    for task in summary.plan.tasks:
        yield Column((task.name, task.score, *(["(synthetic)"] if task.synthetic else [])), kind="score")
    yield Column(("average",), kind="average")
    yield Column(("params", "(M)"), kind="size")
    for column in summary.speed_ups:
        yield Column(("speed-up", column.label), kind="speed-up")


def _strings(row: BoardRow, summary: Summary, notes: _Notes) -> tuple[str, ...]:
    return (
        "teacher" if row.role == "teacher" else _rank(row),
        row.label,
        row.student or NOTHING,
        *_scores(row, summary, notes),
        millions(row.parameters),
        *(speed_up(row, column) for column in summary.speed_ups),
    )


def _scores(row: BoardRow, summary: Summary, notes: _Notes) -> Iterator[str]:
    """Yield the scores on each task, then the average."""
    constant = summary.constant
    if row is constant:
        yield from (score(row.cells[task.name].score) for task in summary.plan.tasks)
        yield score(row.average)
        return
    for task in summary.plan.tasks:
        cell = row.cells[task.name]
        idle = _idle(cell.score, constant.cells[task.name].score if constant else None, task)
        yield _cell(cell, notes, f" {IDLE}" * idle + f" {COLLAPSED}" * bool(cell.collapsed))
    idle = _idle(row.average, constant.average if constant else None, summary.plan.tasks[0])
    yield score(row.average) + f" {IDLE}" * idle + f" {COLLAPSED}" * (row.collapsed and row.average is not None)


def _idle(value: Statistic | None, constant: Statistic | None, task: PlannedTask) -> bool:
    """Return whether the printed score is no better than the constant answer's."""
    return value is not None and constant is not None and lead(value, constant, task) <= 0


def _published(summary: Summary, notes: _Notes, columns: Sequence[Column]) -> Iterator[Line]:
    """Yield the lines of published figures: one for each measured row and each model of a source."""
    by_cell = published_rows.by_cell(summary.plan.published)
    metrics = published_rows.metrics_of(summary.plan.published)
    figures: dict[tuple[str, ...], dict[str, PublishedFigure]] = {}
    for row in (*summary.teachers, *summary.students):
        for task in summary.plan.tasks:
            for figure in by_cell.get((task.name, row.label, row.student), ()):
                figures.setdefault((row.label, row.student, *published_rows.model_of(figure)), {})[task.name] = figure
    for (label, student, *_), by_task in figures.items():
        first = next(iter(by_task.values()))
        note = notes.mark([published_rows.note(first, metrics[published_rows.model_of(first)])])
        texts = [
            published_rows.text(by_task[task.name], task.score) if task.name in by_task else NOTHING
            for task in summary.plan.tasks
        ]
        empty = [NOTHING] * (len(columns) - FIRST_TASK - len(texts))
        yield Line("published", "(published)", ("published", label + note, student or NOTHING, *texts, *empty))


def _rank(row: BoardRow) -> str:
    text = str(row.rank) if row.rank else row.status if row.status == "incomplete" else NOTHING
    return f"{text} {TOP}" if row.top else text


def _cell(cell: ScoreCell, notes: _Notes, mark: str) -> str:
    text = {"complete": score(cell.score), "not applicable": "n/a"}.get(cell.state, cell.state)
    return text + mark + notes.mark(cell.notes)


def _best(summary: Summary) -> dict[tuple[str, str], list[int]]:
    """Return (label, student) -> indices of the columns in which the row is the best of its student. Rows whose printed
    scores are equal are all the best."""
    best: dict[tuple[str, str], list[int]] = {}
    for student in summary.plan.students:
        rows = [row for row in summary.students if row.student == student]
        for index, task in enumerate(summary.plan.tasks, start=FIRST_TASK):
            for row in _leaders([(row, row.cells[task.name].score) for row in rows], task):
                best.setdefault((row.label, student), []).append(index)
        for row in _leaders([(row, row.average) for row in rows], summary.plan.tasks[0]):
            best.setdefault((row.label, student), []).append(FIRST_TASK + len(summary.plan.tasks))
    return best


def _leaders(column: Sequence[tuple[BoardRow, Statistic | None]], task: PlannedTask) -> list[BoardRow]:
    scores = [(row, value.rounded) for row, value in column if value]
    top = (max if task.higher_is_better else min)((value for _, value in scores), default=None)
    return [row for row, value in scores if value == top]
