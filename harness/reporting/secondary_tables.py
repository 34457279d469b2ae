"""Secondary tables of a board: suite level, spread over seeds, size and cost, training protocols."""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis.ranking import best_of
from harness.analysis.score_format import NOTHING, difference, interval, spread
from harness.analysis.summary import BoardRow, Summary
from harness.analysis.top_groups import Comparison
from harness.reporting.formatting import duration, gap_closed, millions, probability
from harness.reporting.table_model import Column, Line, Table

NAMES = (Column(("method",), "left"), Column(("student",), "left"))


def tables(summary: Summary) -> Iterator[Table]:
    """Yield the tables that are not empty."""
    if any(row.average for row in summary.students):
        yield _suite(summary)
    if any(map(_varies, summary.students)):
        yield _spread(summary)
    yield _cost(summary)
    if any(row.protocol for row in summary.plan.rows.values()):
        yield _protocols(summary)


def _suite(summary: Summary) -> Table:
    behind = behind_the_best(summary)
    lines = [
        Line(
            row.role,
            row.student,
            (
                row.label,
                row.student,
                interval(row.average),
                interval(row.iqm),
                gap_closed(row.gap),
                *behind[row.label, row.student],
            ),
        )
        for row in summary.students
        if row.average
    ]
    titles = ("average", "IQM (% of teacher)", "gap closed", "behind the best", "p (Holm)")
    return Table("Over the whole suite", (*NAMES, *(Column((title,)) for title in titles)), tuple(lines))


def behind_the_best(summary: Summary) -> dict[tuple[str, str], tuple[str, str]]:
    """Return (label, student) -> the paired difference from the best row of the student, and its corrected p-value."""
    best, decimals = best_of(summary.plan, summary.students), summary.decimals(None)
    comparisons = {(pair.student, frozenset(pair.labels)): pair for pair in summary.comparisons}
    behind: dict[tuple[str, str], tuple[str, str]] = {}
    for row in summary.students:
        leader = best.get(row.student)
        pair = comparisons.get((row.student, frozenset((row.label, leader.label)))) if leader else None
        texts = (NOTHING, NOTHING) if pair is None else (_difference(row, pair, decimals), _p(pair))
        behind[row.label, row.student] = texts
    return behind


def _p(pair: Comparison) -> str:
    return "not tested" if pair.p is None else probability(pair.p)


def _difference(row: BoardRow, pair: Comparison, decimals: int) -> str:
    """Format the row's score minus the other row's, in whichever order the pair was compared."""
    return difference(pair.difference if pair.labels[0] == row.label else -pair.difference, decimals)


def _spread(summary: Summary) -> Table:
    tasks = summary.plan.tasks
    lines = [
        Line(
            row.role,
            row.student,
            (
                row.label,
                row.student or NOTHING,
                *(spread(row.cells[task.name].score) for task in tasks),
                spread(row.average),
            ),
        )
        for row in (*filter(_varies, summary.teachers), *summary.students)
    ]
    columns = (*NAMES, *(Column((task.name,)) for task in tasks), Column(("average",)))
    return Table("Standard deviation over seeds", columns, tuple(lines))


def _varies(row: BoardRow) -> bool:
    """Return whether the row has several seeds."""
    return any(cell.score and cell.score.std is not None for cell in row.cells.values())


def _cost(summary: Summary) -> Table:
    lines = []
    for row in (*summary.teachers, *summary.students):
        compression = NOTHING if row.compression is None else f"{row.compression:.1f}×"
        completed = f"{row.completed} of {row.runs}"
        names = (row.label, row.student or NOTHING)
        tuning = (duration(row.tuning_seconds),) if summary.plan.tuning else ()
        cells = (*names, millions(row.parameters), compression, duration(row.training_seconds), *tuning, completed)
        lines.append(Line(row.role, row.student, cells))
    tuning_title = (("tuning", "cost"),) if summary.plan.tuning else ()
    titles = (("params", "(M)"), ("compression",), ("training", "cost"), *tuning_title, ("runs",))
    return Table("Size and cost", (*NAMES, *(Column(title) for title in titles)), tuple(lines))


def _protocols(summary: Summary) -> Table:
    """List what each row trained on, and for how long. A paper's own procedure may train on more."""
    labels = dict.fromkeys(row.label for row in summary.students)
    planned = {label: summary.plan.rows[label].protocol for label in labels if label in summary.plan.rows}
    lines = [Line("student", "", (label, protocol)) for label, protocol in planned.items() if protocol]
    return Table("Training protocol", (NAMES[0], Column(("protocol",), "left")), tuple(lines))
