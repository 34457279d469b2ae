"""The metrics of a run as its model card prints them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from harness.analysis.summary import Summary, is_error, scale
from harness.metrics import task_metrics
from harness.storage.plan_file import PlannedTask
from harness.storage.records import RunRecord


def printed(summary: Summary, task: PlannedTask, record: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield name and text of each metric: the score as on the board, others in percent or as reported."""
    for name, value in record.metrics.items():
        factor = _factor(task, name)
        if not math.isfinite(value):
            yield name, "undefined"
        elif factor is None:
            yield name, f"{value:.3g}"
        else:
            yield name, f"{value * factor:.{summary.decimals(task.name)}f}"


def scales(task: PlannedTask, record: RunRecord) -> str:
    """How the values are scaled: ``In percent (mae: as reported), on``, or ``On`` if none is in percent."""
    if is_error(task):
        return "On"
    raw = ", ".join(sorted(name for name in record.metrics if _factor(task, name) is None))
    return f"In percent ({raw}: as reported), on" if raw else "In percent, on"


def _factor(task: PlannedTask, name: str) -> int | None:
    """By what a metric is multiplied; None: it is printed as reported, since its scale is not that of the board.

    A task declares the scale of its score. That of another metric is known if it is built in.
    """
    value = _without_split(task, name)
    if value == task.score:
        return scale(task)
    return None if is_error(task) else task_metrics.factor(task.kind, value)


def _without_split(task: PlannedTask, name: str) -> str:
    """The metric without the name of the split, which those of a task with several splits start with."""
    splits = task.data.examples if task.data else {}
    return next((name.removeprefix(f"{split}_") for split in splits if name.startswith(f"{split}_")), name)
