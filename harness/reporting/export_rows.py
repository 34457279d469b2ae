"""Unrounded rows of a board for leaderboard.csv and leaderboard.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.analysis import published_rows
from harness.analysis.speed_up import SpeedUp, machine
from harness.analysis.summary import BoardRow, Statistic, Summary
from harness.storage.plan_file import PlannedTask, PublishedFigure


def exact(value: float | None) -> float | None:
    """Round to 9 decimals, which removes floating-point noise of scaling and summing."""
    return None if value is None else round(value, 9)


def significant(p: float | None) -> float | None:
    """Round a p-value to 6 significant digits, so that a small one does not become 0."""
    return None if p is None else float(f"{p:.6g}")


def csv_rows(summary: Summary) -> list[dict[str, Any]]:
    """Return the rows of leaderboard.csv in the board's order: column -> value, None where the board has no value."""
    published = published_rows.by_cell(summary.plan.published)
    empty: dict[str, dict[str, None]] = {task.name: {} for task in summary.plan.tasks}
    for figure in summary.plan.published:
        empty.setdefault(figure.task, {}).update(dict.fromkeys(published_rows.columns(figure)))
    return [
        {**_identity(row), **_task_columns(row, summary.plan.tasks, published, empty), **_row_columns(row, summary)}
        for row in summary.rows
    ]


def _identity(row: BoardRow) -> dict[str, Any]:
    return {
        "role": row.role,
        "rank": row.rank,
        "top_group": row.top,
        "label": row.label,
        "student": row.student,
        "status": row.status,
    }


def _task_columns(
    row: BoardRow,
    tasks: Sequence[PlannedTask],
    published: Mapping[published_rows.CellKey, Sequence[PublishedFigure]],
    empty: Mapping[str, Mapping[str, None]],
) -> dict[str, Any]:
    """Return the columns that start with the name of a task: measured scores, and the row's `published` figures.

    `empty` has, for each task, all columns of published figures with None."""
    values: dict[str, Any] = {}
    for task in tasks:
        cell = row.cells[task.name]
        values |= {f"{task.name}_state": cell.state, **_statistic(f"{task.name}_{task.score}", cell.score)}
        values |= empty[task.name]
        for figure in published.get((task.name, row.label, row.student), ()):
            values |= published_rows.columns(figure)
    return values


def _row_columns(row: BoardRow, summary: Summary) -> dict[str, Any]:
    """Return the columns over all tasks. No task may have their prefixes: `contribution_checks.TASKS_RESERVED`."""
    least, most = row.parameters or (None, None)
    gap = row.gap
    return {
        **_statistic("average", row.average),
        "iqm": exact(row.iqm.mean) if row.iqm else None,
        "iqm_low": exact(row.iqm.low) if row.iqm else None,
        "iqm_high": exact(row.iqm.high) if row.iqm else None,
        "gap_closed": exact(gap.closed) if gap else None,
        "gap_closed_low": exact(gap.low) if gap else None,
        "gap_closed_high": exact(gap.high) if gap else None,
        "parameters_min": least,
        "parameters_max": most,
        "compression": exact(row.compression),
        **_speed_ups(row, summary.speed_ups),
        "student_seconds": exact(row.student_seconds),
        "teacher_seconds": exact(row.teacher_seconds),
        **({"assistant_seconds": exact(row.assistant_seconds)} if summary.plan.assistants else {}),
        **({"tuning_seconds": exact(row.tuning_seconds)} if summary.plan.tuning else {}),
        "runs": row.runs,
        "completed": row.completed,
    }


def json_row(row: BoardRow, summary: Summary) -> dict[str, Any]:
    """Return a row of leaderboard.json: the columns of `csv_rows`, nested by task, with the score of every seed."""
    tasks = {task.name: task for task in summary.plan.tasks}
    cells = {
        name: {
            "state": cell.state,
            "metric": tasks[name].score,
            **_statistic("", cell.score),
            "over": cell.score.over if cell.score else None,
            "seeds": {str(seed): exact(score) for seed, score in cell.scores.items()},
            "collapsed_seeds": list(cell.collapsed),
            "notes": list(cell.notes),
        }
        for name, cell in row.cells.items()
    }
    planned = summary.plan.rows.get(row.label) if row.role == "student" else None
    protocol = {"protocol": planned.protocol} if planned and planned.protocol else {}
    return {**_identity(row), **_row_columns(row, summary), **protocol, "tasks": cells}


def comparisons(summary: Summary) -> list[dict[str, Any]]:
    """Return the comparisons of all pairs of rows of one student."""
    return [
        {
            "student": pair.student,
            "labels": list(pair.labels),
            "difference": exact(pair.difference.mean),
            "low": exact(pair.difference.low),
            "high": exact(pair.difference.high),
            "over": pair.difference.over,
            "p": significant(pair.difference.p),
            "p_holm": significant(pair.p),
            "significant": None if pair.p is None else pair.distinguished,
        }
        for pair in summary.comparisons
    ]


def tunings(summary: Summary) -> list[dict[str, Any]]:
    """Return the trials and the chosen values of each row on each task."""
    studies = summary.plan.tuning.studies if summary.plan.tuning else []
    tuned = [(study, record) for study in studies if (record := summary.tunings.get(study.key or ""))]
    return [
        {
            **study.model_dump(),
            "examples": record.data_fingerprint,
            "metric": record.metric,
            "space": record.space,
            "chosen": record.chosen.number,
            "seconds": exact(record.seconds),
            "trials": [trial.model_dump() for trial in record.trials],
        }
        for study, record in tuned
    ]


def _statistic(name: str, value: Statistic | None) -> Mapping[str, Any]:
    start = f"{name}_" if name else ""
    return {
        f"{start}mean": exact(value.mean) if value else None,
        f"{start}std": exact(value.std) if value else None,
        f"{start}low": exact(value.low) if value else None,
        f"{start}high": exact(value.high) if value else None,
        f"{start}n": value.n if value else None,
    }


def _speed_ups(row: BoardRow, columns: Sequence[SpeedUp]) -> dict[str, Any]:
    """Return ``speed_up``, its interval and its machine; columns of a second machine start with ``speed_up_2``, ..."""
    values: dict[str, Any] = {}
    for number, column in enumerate(columns, start=1):
        name = "speed_up" if number == 1 else f"speed_up_{number}"
        ratio = column.of.get((row.role, row.student or row.label))
        low, high = (ratio.low, ratio.high) if ratio else (None, None)
        values |= {
            name: exact(ratio.median) if ratio else None,
            f"{name}_low": exact(low),
            f"{name}_high": exact(high),
            f"{name}_on": f"{machine(column.hardware)}; {column.backend}; {column.shape[0]} x {column.shape[1]}",
        }
    return values
