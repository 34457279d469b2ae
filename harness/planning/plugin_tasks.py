"""Loads the examples of tasks of plugins, whose mistakes are errors that name the task and the line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError, describe
from harness.api.task import Splits
from harness.plugin_host.discovery import place_of
from harness.storage.disk_errors import is_disk_error

if TYPE_CHECKING:
    from harness.api.task import Task


def load_splits(task: Task, source: str | None) -> Splits:
    """Return what the `load` of a plugin returns.

    Raises:
        UserError: it raises an exception, or returns something else than splits of data sets.
    """
    try:
        splits: object = task.load(source)
    except (Exception, SystemExit) as error:
        if isinstance(error, UserError) or is_disk_error(error):
            raise
        message = f"task {task.name!r}: load() failed: {describe(error)}"
        raise UserError(Problem(message, _place(task, error))) from error
    if fault := next(_faults(splits), None):
        raise UserError(Problem(f"task {task.name!r}: load() returned {fault}", _place(task)))
    assert isinstance(splits, Splits)
    return splits


def _faults(splits: object) -> Iterator[str]:
    from datasets import Dataset

    if not isinstance(splits, Splits):
        yield f"a {type(splits).__name__}; expected harness.api.task.Splits"
        return
    if not isinstance(splits.validation, Mapping):
        found = type(splits.validation).__name__
        yield f"a {found} as validation; expected a dict of data sets by the name of their split"
        return
    for name, rows in {"train": splits.train, **splits.validation}.items():
        if not isinstance(rows, Dataset):
            yield f"a {type(rows).__name__} as split {name!r}; expected a datasets.Dataset"


def _place(task: Task, error: BaseException | None = None) -> str | None:
    """The line of the plugin in a traceback, or where its `load` is defined."""
    place = place_of(error, task.load.__module__) if error else None
    code = getattr(task.load, "__code__", None)
    if place is None and code is not None:
        place = Path(code.co_filename), code.co_firstlineno
    return f"{place[0]}:{place[1]}" if place else None
