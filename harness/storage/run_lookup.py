"""Finds stored results by what a user types: a suite, a results folder, or the key of a run or its beginning."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.api.errors import Problem, UserError
from harness.storage.plan_file import PlannedTask
from harness.storage.records import RunRecord
from harness.storage.store import Store


@dataclass(frozen=True)
class StoredRun:
    """A run in a results folder."""

    store: Store
    record: RunRecord

    @property
    def max_length(self) -> int | None:
        """The longest row in tokens that it was trained on."""
        data = self.record.parts.get("data")
        length = data.get("max_length") if isinstance(data, dict) else None
        return length if isinstance(length, int) else None

    @cached_property
    def task(self) -> PlannedTask | None:
        """Its task in the present plan of the suite; None if that does not contain the task."""
        plan = self.store.plan()
        return next((task for task in plan.tasks if task.name == self.record.task), None) if plan else None

    @property
    def paired(self) -> bool | None:
        """Whether the examples of its task are pairs of texts; None if they are not stored."""
        examples = self.store.examples(self.record.data_fingerprint)
        return None if examples is None else bool({"text_pair", "context"} & {*examples.columns})

    @property
    def unanswerable(self) -> bool:
        """QA: whether questions of its task may have no answer, which SQuAD 2.0's metrics count separately.

        They do so also where all scored questions, or none of them, have an answer.
        """
        return any(name.startswith(("NoAns_", "HasAns_")) for name in self.record.metrics)


def find_store(name: str, results: Path) -> Store | None:
    """The results folder that `name` is, or that of the suite `name` below `results`; None if there is none."""
    for folder in (Path(name).expanduser(), results / name):
        if (folder / "plan.json").is_file():
            return Store.existing(folder)
    return None


def find_run(name: str, results: Path) -> StoredRun | None:
    """The run whose folder `name` is, or whose key starts with `name`, in any results folder below `results`.

    Raises:
        UserError: several runs have such a key.
    """
    folder = Path(name).expanduser()
    if (folder / "record.json").is_file() and folder.resolve().parent.name == "runs":
        folder = folder.resolve()
        return _stored(Store(folder.parents[1]), folder.name)
    if not name or not name.isalnum():
        return None
    found = sorted(path.parent for path in results.glob(f"*/runs/{name}*/record.json"))
    if len({path.name for path in found}) > 1:
        shown = ", ".join(str(path) for path in found[:5])
        raise UserError(
            Problem(f"{name!r} is the beginning of the keys of {len(found)} runs: {shown}; use a longer one")
        )
    return _stored(Store(found[0].parents[1]), found[0].name) if found else None


def _stored(store: Store, key: str) -> StoredRun | None:
    record = store.record(key)
    return None if record is None else StoredRun(store, record)
