"""A task's examples as a suite asks for them: loaded, checked, limited, and described."""

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
    """The examples that `suite` trains and scores on.

    Raises:
        UserError: they cannot be had, are not what a task's examples must be, or are too few to hold some out.
    """
    limit = suite.spec.training.limit
    whole = task.load(suite.sources.get(task.source) if task.source else None)
    refuse_invalid(task, whole)
    selection = suite.spec.effective_selection
    return limit_splits(hold_out(task, whole, selection), train=limit.train, validation=limit.validation)


def report_on(splits: Splits) -> DataReport:
    """What a user should know of the examples."""
    return DataReport(
        examples={name: len(rows) for name, rows in splits.validation.items()},
        overlap=overlap(splits),
        repaired={name: count for name, count in splits.repaired.items() if count},
    )


def reports(suite: Suite) -> dict[str, DataReport]:
    """Of each task whose data are in a local folder, or generated. Raises `UserError` with the problems of all."""
    found: dict[str, DataReport] = {}
    problems: list[Problem] = []
    for task in _at_hand(suite):
        try:
            found[task.name] = report_on(splits_of(task, suite))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    return found


def _at_hand(suite: Suite) -> Iterable[Task]:
    """The tasks whose data take no network."""
    for task in suite.tasks:
        if task.source is None or Path(suite.sources[task.source]).is_absolute():
            yield task
