"""Selects, for each key, the results folder that a merge takes the result from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

from harness.analysis import equal_results
from harness.api.errors import Problem, UserError
from harness.storage import folder_checks
from harness.storage.failure_records import FailureRecord
from harness.storage.latency_records import LatencyRecord
from harness.storage.plan_file import PlanFile
from harness.storage.record_files import teacher_name
from harness.storage.records import GeneralRecord, RunRecord, TeacherRecord
from harness.storage.store import Store
from harness.storage.tuning_records import TuningRecord
from harness.workflow.plan_columns import listed
from harness.workflow.plan_union import Prefer

R = TypeVar("R", RunRecord, TeacherRecord, GeneralRecord, LatencyRecord, TuningRecord, FailureRecord)

MAX_LISTED = 5
"""Number of conflicts that are described; the others are counted."""


@dataclass(frozen=True)
class Stored(Generic[R]):
    """A record and the results folder that contains it."""

    store: Store
    record: R


Found = Mapping[str, Sequence[Stored[R]]]
"""Key -> the record in each folder that contains it."""


@dataclass(frozen=True)
class Contents:
    """The results in one folder.

    Attributes:
        plan: None if a merge into the folder was interrupted before it wrote the plan.

    The records of teachers are by the names of their folders: a teacher has one for each set of examples.
    """

    store: Store
    plan: PlanFile | None

    @cached_property
    def runs(self) -> dict[str, RunRecord]:
        return {record.key: record for record in self.store.records()}

    @cached_property
    def teachers(self) -> dict[str, TeacherRecord]:
        return {teacher_name(record.key, record.data_fingerprint): record for record in self.store.teachers()}

    @cached_property
    def generals(self) -> dict[str, GeneralRecord]:
        return self._read("general/*/record.json", lambda path: self.store.general(path.parent.name))

    @cached_property
    def latencies(self) -> dict[str, LatencyRecord]:
        return {record.key: record for record in self.store.latencies()}

    @cached_property
    def tunings(self) -> dict[str, TuningRecord]:
        return self._read("tuning/*.json", lambda path: self.store.tuning(path.stem))

    @cached_property
    def failures(self) -> dict[str, FailureRecord]:
        return self._read("failures/*.json", lambda path: self.store.failure(path.stem))

    def completed(self, task: str) -> bool:
        """Whether runs of a task that the plan contains are completed."""
        planned = [run.key for run in self.plan.runs if run.task == task] if self.plan else []
        return any(key in self.runs and self.runs[key].status == "completed" for key in planned)

    def _read(self, pattern: str, read: Callable[[Path], R | None]) -> dict[str, R]:
        records = map(read, sorted(self.store.folder.glob(pattern)))
        return {record.key: record for record in records if record is not None}


@dataclass
class Selection:
    """For each key, the folder that the merged folder has its result from. For teachers see `Contents`.

    Attributes:
        shared: number of runs and teachers that several folders contain, with equal results.
        decisions: the keys whose results differ, and which counts: one line for each kind.
    """

    runs: dict[str, Stored[RunRecord]] = field(default_factory=dict)
    teachers: dict[str, Stored[TeacherRecord]] = field(default_factory=dict)
    generals: dict[str, Stored[GeneralRecord]] = field(default_factory=dict)
    latencies: dict[str, Stored[LatencyRecord]] = field(default_factory=dict)
    tunings: dict[str, Stored[TuningRecord]] = field(default_factory=dict)
    failures: dict[str, Stored[FailureRecord]] = field(default_factory=dict)
    shared: int = 0
    decisions: tuple[str, ...] = ()


def select(contents: Sequence[Contents], prefer: Prefer | None) -> Selection:
    """Select one result for each key.

    Completed runs are selected before failed ones, the newest of failures, and the newest latency measurement. Of equal
    results the first is selected, or the first with the most data. Of results that differ, `prefer` selects one.

    Raises:
        UserError: results with the same key differ, and nothing is preferred.
    """
    chooser = _Chooser(prefer)
    selection = Selection()
    for key, runs in _by_key(contents, lambda c: c.runs).items():
        completed = [run for run in runs if run.record.status == "completed"]
        selection.runs[key] = chooser.choose("runs", completed, _difference) if completed else _newest(runs)
    for name, teachers in _by_key(contents, lambda c: c.teachers).items():
        selection.teachers[name] = chooser.choose("teachers", teachers, _difference)
    for key, generals in _by_key(contents, lambda c: c.generals).items():
        chosen = chooser.choose("general", generals, lambda a, b: equal_results.of_generals(a.record, b.record))
        selection.generals[key] = chosen
    for key, tunings in _by_key(contents, lambda c: c.tunings).items():
        chosen_tuning = chooser.choose("tuning", tunings, lambda a, b: equal_results.of_tunings(a.record, b.record))
        selection.tunings[key] = chosen_tuning
    selection.latencies = {key: _newest(found) for key, found in _by_key(contents, lambda c: c.latencies).items()}
    trained = {teacher.record.key for teacher in selection.teachers.values()}
    built = {*trained, *selection.generals, *selection.tunings}
    failures = _by_key(contents, lambda c: c.failures).items()
    selection.failures = {key: _newest(found) for key, found in failures if key not in built}
    chooser.raise_if_any()
    selection.shared = chooser.equal["runs"] + chooser.equal["teachers"]
    selection.decisions = chooser.decisions()
    return selection


class _Chooser:
    """Chooses between results with the same key, and collects those that differ.

    Attributes:
        conflicts: results that differ without a preference.
        equal: kind -> number of keys with equal results in several folders.
        preferred: kind -> keys that the preference decided.
    """

    def __init__(self, prefer: Prefer | None) -> None:
        self.prefer = prefer
        self.conflicts: list[Problem] = []
        self.equal: Counter[str] = Counter()
        self.preferred: dict[str, list[str]] = {}

    def choose(
        self, kind: str, found: Sequence[Stored[R]], difference: Callable[[Stored[R], Stored[R]], str | None]
    ) -> Stored[R]:
        first = found[0]
        for other in found[1:]:
            if different := difference(first, other):
                self._note(kind, first, other, different)
                return found[-1] if self.prefer == "last" else first
        self.equal[kind] += len(found) > 1
        return max(found, key=lambda stored: _stored_data(place(kind, stored.record, stored.store)))

    def _note(self, kind: str, first: Stored[R], other: Stored[R], different: str) -> None:
        if self.prefer is None:
            paths = " and ".join(str(place(kind, stored.record, stored.store)) for stored in (first, other))
            self.conflicts.append(Problem(f"the same key has different results: {different}", paths))
        else:
            self.preferred.setdefault(kind, []).append(first.record.key)

    def decisions(self) -> tuple[str, ...]:
        """What the preference decided, one line for each kind."""
        return tuple(
            f"{kind}: of different results with the same key the {self.prefer} counts: {listed(keys)}"
            for kind, keys in self.preferred.items()
        )

    def raise_if_any(self) -> None:
        if self.conflicts:
            count = len(self.conflicts)
            more = f"{count - MAX_LISTED} more keys have different results" if count > MAX_LISTED else ""
            remedy = "nothing was merged. Choose with --prefer first or --prefer last; the others stay where they are"
            raise UserError(*self.conflicts[:MAX_LISTED], "; ".join(filter(None, (more, remedy))))


def _difference(
    one: Stored[RunRecord] | Stored[TeacherRecord], other: Stored[RunRecord] | Stored[TeacherRecord]
) -> str | None:
    folders = [stored.store.folder_of(stored.record) for stored in (one, other)]
    return equal_results.of_results(one.record, folders[0], other.record, folders[1])


def _by_key(contents: Iterable[Contents], records: Callable[[Contents], Mapping[str, R]]) -> Found[R]:
    found: dict[str, list[Stored[R]]] = {}
    for content in contents:
        for key, record in records(content).items():
            found.setdefault(key, []).append(Stored(content.store, record))
    return found


def _newest(found: Sequence[Stored[R]]) -> Stored[R]:
    """The record that was written last, the first of several."""
    return max(found, key=lambda stored: stored.record.provenance.ended)


def place(kind: str, record: R, store: Store) -> Path:
    """The folder of a result in a results folder; a tuning has a file."""
    if isinstance(record, TeacherRecord):
        return store.folder_of(record)
    return store.folder / kind / (f"{record.key}.json" if kind == "tuning" else record.key)


def _stored_data(folder: Path) -> int:
    """How much of the data of a result is stored: predictions, student."""
    return sum((folder / name).exists() for name in folder_checks.DATA)


def first_files(contents: Iterable[Contents], pattern: str, excluded: Iterable[str] = ()) -> Iterator[Path]:
    """Yield the first file of each name that matches `pattern`, without those whose stems are `excluded`."""
    names = {*excluded}
    for content in contents:
        for path in sorted(content.store.folder.glob(pattern)):
            if path.stem not in names:
                names.add(path.stem)
                yield path
