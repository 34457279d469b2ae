"""Load, validate, limit and describe the examples of a suite's tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import cache, partial
from inspect import isfunction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from harness.api.errors import Problem, UserError
from harness.planning.plugin_tasks import load_splits
from harness.storage.derived_values import derived, forget
from harness.storage.frozen_model import FrozenModel
from harness.storage.plan_file import DataReport
from harness.tasks.data_checks import refuse_invalid
from harness.tasks.fingerprints import fingerprint, fingerprint_of_parts, limit_splits
from harness.tasks.holdout import hold_out
from harness.tasks.label_scale import label_scale
from harness.tasks.overlap import overlap

if TYPE_CHECKING:
    from harness.api.task import Splits, Task
    from harness.resolution.suite import Suite

KIND = "data"
"""Folder of the cache for summaries."""


def splits_of(task: Task, suite: Suite) -> Splits:
    """Return the examples that `suite` trains and scores on.

    Raises:
        UserError: the data cannot be loaded, are invalid, or are too few for a held-out split.
    """
    limit = suite.spec.training.limit
    load = partial(load_splits, task) if task.name in suite.plugin_tasks else task.load
    examples = load(suite.sources.get(task.source) if task.source else None)
    refuse_invalid(task, examples)
    selection = suite.spec.effective_selection
    return limit_splits(hold_out(task, examples, selection), train=limit.train, validation=limit.validation)


class DataSummary(FrozenModel):
    """What a plan needs to know of the examples of a task, which are valid."""

    train: str = Field(description="fingerprint of the training split")
    validation: str = Field(description="fingerprint of the validation splits")
    selection: str | None = Field(description="fingerprint of the held-out split; null: the suite holds none out")
    selection_examples: int = Field(description="number of examples of the held-out split; 0: there is none")
    train_examples: int
    report: DataReport


def summarize(task: Task, suite: Suite, load: Callable[[], Splits] | None = None) -> DataSummary:
    """Return the summary of the examples that `suite` trains and scores on.

    It is cached if the task lists the files that it reads (`Task.files`).

    Args:
        load: loads these examples; default: `splits_of`.

    Raises:
        UserError: as `splits_of`.
    """
    examples = load or partial(splits_of, task, suite)
    description = _description(task, suite)
    if task.files is None or description is None:
        return _summary(task, examples())
    source = suite.sources.get(task.source) if task.source else None
    files = partial(task.files, source)
    return derived(KIND, description, DataSummary, lambda: _summary(task, examples()), files=files, code=task.load)


def forget_summary(task: Task, suite: Suite) -> None:
    """Remove the summary from the cache: the examples that were loaded later are others."""
    if (description := _description(task, suite)) is not None:
        forget(KIND, description)


def _summary(task: Task, splits: Splits) -> DataSummary:
    return DataSummary(
        train=fingerprint(splits.train),
        validation=fingerprint_of_parts(splits.validation),
        selection=fingerprint(splits.selection) if splits.selection is not None else None,
        selection_examples=len(splits.selection) if splits.selection is not None else 0,
        train_examples=len(splits.train),
        report=report_on(task, splits),
    )


def _description(task: Task, suite: Suite) -> dict[str, Any] | None:
    """Return all settings that the examples depend on; None if they cannot be described by text."""
    spec = suite.spec
    description = {
        "task": {field.name: _text(getattr(task, field.name)) for field in fields(task) if field.name != "files"},
        "source": suite.sources.get(task.source) if task.source else None,
        "limit": spec.training.limit.model_dump(),
        "selection": spec.effective_selection.model_dump() if spec.effective_selection else None,
    }
    has_address = " at 0x" in repr(description)  # a function or an object without a text of its own
    return None if has_address else description


def _text(value: object) -> str:
    """Return a text of a value, also of a function, without its place in memory.

    A function keeps its place if its name does not determine what it does: a lambda, or one that captures values.
    """
    if isinstance(value, partial):
        return f"{_text(value.func)}({', '.join(map(_text, value.args))}, {_text(value.keywords)})"
    if isfunction(value) and value.__closure__ is None and "<" not in value.__qualname__:
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)


def lazy_splits(task: Task, suite: Suite) -> Callable[[], Splits]:
    """Return a function that loads the examples when it is first called."""
    return cache(partial(splits_of, task, suite))


def report_on(task: Task, splits: Splits) -> DataReport:
    """Report counts of examples, their overlap with the training split, repaired examples, and the scale of labels."""
    return DataReport(
        examples={name: len(rows) for name, rows in splits.validation.items()},
        overlap=overlap(splits),
        repaired={name: count for name, count in splits.repaired.items() if count},
        labels=label_scale(splits.train["label"][:]) if task.kind == "regression" else None,
        standardized=task.standardize,
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
            reports_by_task[task.name] = summarize(task, suite).report
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
