"""Load, validate, limit and describe the examples of a suite's tasks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError
from harness.storage.records import DataReport
from harness.tasks.data_checks import refuse_invalid
from harness.tasks.fingerprints import limit_splits
from harness.tasks.holdout import hold_out
from harness.tasks.overlap import overlap

if TYPE_CHECKING:
    from harness.api.task import Splits, Task
    from harness.resolution.suite import Suite


def splits_of(task: Task, suite: Suite) -> Splits:
    """Return the examples that `suite` trains and scores on.

    Raises:
        UserError: the data cannot be loaded, are invalid, or are too few for a held-out split.
    """
    limit = suite.spec.training.limit
    examples = task.load(suite.sources.get(task.source) if task.source else None)
    refuse_invalid(task, examples)
    selection = suite.spec.effective_selection
    return limit_splits(hold_out(task, examples, selection), train=limit.train, validation=limit.validation)


def report_on(splits: Splits) -> DataReport:
    """Report counts of examples, their overlap with the training split, and repaired examples."""
    return DataReport(
        examples={name: len(rows) for name, rows in splits.validation.items()},
        overlap=overlap(splits),
        repaired={name: count for name, count in splits.repaired.items() if count},
    )


def reports(suite: Suite) -> dict[str, DataReport]:
    """Report on each task whose data are in a local folder or generated.

    Raises:
        UserError: some data are invalid. It lists the problems of all these tasks.
    """
    reports_by_task: dict[str, DataReport] = {}
    problems: list[Problem] = []
    for task in _local_tasks(suite):
        try:
            reports_by_task[task.name] = report_on(splits_of(task, suite))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    return reports_by_task


def _local_tasks(suite: Suite) -> Iterable[Task]:
    """Yield the tasks whose data need no network."""
    for task in suite.tasks:
        if task.source is None or Path(suite.sources[task.source]).is_absolute():
            yield task
