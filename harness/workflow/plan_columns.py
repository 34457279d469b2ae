"""The columns of plans: what each plan requests for one task, and whether several plans can share the column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.storage.hashing import differences
from harness.storage.plan_file import NotApplicable, PlanFile, PlannedRun, PlannedStudy, TruncatedTexts

PlannedCell = tuple[str, str, str, int]
"""Task, label, student and seed."""

SHARED_PARTS = ("training", "numeric", "code", "selection", "data")
"""The parts of the key of a run that all rows of a task have in common, but for `ROW_PARTS`."""

ROW_PARTS = {"numeric": "teacher_tensors", "data": "tokenizer"}
"""What each row has of its own in `SHARED_PARTS`: whether its teachers' outputs are cached; its student's tokenizer."""

SHOWN = 5
"""Maximum number of differences that a message lists."""


@dataclass(frozen=True)
class PlanSource:
    """A results folder whose plan is united with others.

    Attributes:
        parts: returns the parts of the key of a stored run or teacher; empty if it is not stored.
        has_results: whether runs of a task are completed in the folder.
    """

    folder: Path
    plan: PlanFile
    parts: Callable[[str], Mapping[str, Any]]
    has_results: Callable[[str], bool]


@dataclass(frozen=True)
class PlanColumn:
    """What one plan requests for a task.

    Attributes:
        data_fingerprint: of the examples to score; None if the plan, of an older version, does not have it.
        truncated: the texts that are longer than its `max_length`.
        teachers: name -> seed of the runs -> key.
    """

    source: PlanSource
    task: str
    data_fingerprint: str | None
    truncated: Sequence[TruncatedTexts]
    runs: Mapping[PlannedCell, PlannedRun]
    teachers: Mapping[str, Mapping[int, str]]
    studies: Sequence[PlannedStudy]
    not_applicable: Sequence[NotApplicable]

    @classmethod
    def of(cls, source: PlanSource, task: str) -> PlanColumn | None:
        """The column of a source; None if its plan does not have the task."""
        plan = source.plan
        planned = next((planned for planned in plan.tasks if planned.name == task), None)
        if planned is None:
            return None
        teachers = {}
        for name, by_task in plan.teachers.items():
            if keys := by_task.get(task):
                of_seeds = keys * len(plan.seeds) if len(keys) == 1 else keys
                teachers[name] = dict(zip(plan.seeds, of_seeds, strict=True))
        return cls(
            source,
            task,
            planned.data_fingerprint,
            planned.truncated,
            {cell_of(run): run for run in plan.runs if run.task == task},
            teachers,
            [study for study in (plan.tuning.studies if plan.tuning else ()) if study.task == task],
            [cell for cell in plan.not_applicable if cell.task == task],
        )

    def keys(self) -> dict[Hashable, str | None]:
        """What it requests -> key."""
        keys: dict[Hashable, str | None] = {cell: run.key for cell, run in self.runs.items()}
        keys |= {(name, seed): key for name, by_seed in self.teachers.items() for seed, key in by_seed.items()}
        return keys | {("study", study.label, study.student): study.key for study in self.studies}

    def shared_parts(self) -> dict[str, Any]:
        """What the keys of all runs have in common, see `SHARED_PARTS`; empty if none is stored."""
        stored = next((parts for run in self.runs.values() if (parts := self.source.parts(run.key))), {})
        shared = {name: stored[name] for name in SHARED_PARTS if name in stored}
        own = {name: {**shared[name], field: None} for name, field in ROW_PARTS.items() if name in shared}
        return shared | own

    def fine_tuning_seeds(self, teacher: str) -> dict[int, int | None]:
        """Seed of the runs -> seed that their teacher was fine-tuned with, as far as runs say so."""
        return {
            run.seed: seed
            for run in self.runs.values()
            for name, seed in zip(run.teachers, run.teacher_seeds, strict=False)  # old plans have no seeds
            if name == teacher
        }


def cell_of(run: PlannedRun) -> PlannedCell:
    return run.task, run.label, run.student, run.seed


def conflict(columns: Sequence[PlanColumn]) -> str | None:
    """Why the columns of several plans for one task cannot be united; None if they can."""
    for number, column in enumerate(columns):
        for other in columns[number + 1 :]:
            comparisons = (_other_keys, _other_settings, _other_examples)
            if message := next(filter(None, (compare(column, other) for compare in comparisons)), None):
                return message
    names = dict.fromkeys(name for column in columns for name in column.teachers)
    return next((message for name in names if (message := _other_teachers(name, columns))), None)


def _other_keys(column: PlanColumn, other: PlanColumn) -> str | None:
    """Describe the keys in which two columns differ; None if common runs, teachers and studies have the same keys."""
    one, another = column.keys(), other.keys()
    common = [name for name in one if name in another]
    changed = [(one[name], another[name]) for name in common if one[name] != another[name]]
    if not changed:
        return None
    counts: Counter[str] = Counter()
    for old, new in changed:
        old_parts, new_parts = column.source.parts(old or ""), other.source.parts(new or "")
        if old_parts and new_parts:
            counts.update(differences(old_parts, new_parts))
    parts = sorted(counts, key=lambda difference: (-counts[difference], difference))
    reason = f": {listed(parts)}" if parts else " (`harness plan SUITE` names the parts of a key that have changed)"
    return (
        f"{len(changed)} of {len(common)} keys of runs and teachers differ between {column.source.folder} and"
        f" {other.source.folder}{reason}"
    )


def _other_settings(column: PlanColumn, other: PlanColumn) -> str | None:
    """Describe the settings of all rows in which two columns differ, also if the columns have no run in common.

    None if they are equal, or one column has no stored run.
    """
    one, another = column.shared_parts(), other.shared_parts()
    if not (one and another) or not (found := differences(one, another)):
        return None
    return f"runs in {column.source.folder} and {other.source.folder} have different settings: {listed(found)}"


def _other_examples(column: PlanColumn, other: PlanColumn) -> str | None:
    """Say that two columns score different examples, also if no run is stored; None if a plan does not have them."""
    found = (column.data_fingerprint, other.data_fingerprint)
    if None in found or found[0] == found[1]:
        return None
    return (
        f"runs in {column.source.folder} and {other.source.folder} score different examples: {found[0]} and {found[1]}"
    )


def _other_teachers(name: str, columns: Sequence[PlanColumn]) -> str | None:
    """Say that the seeds of several plans have different teachers although they are meant to share one."""
    with_teacher = [column for column in columns if name in column.teachers]
    keys = {seed: key for column in with_teacher for seed, key in column.teachers[name].items()}
    seeds = {seed: value for column in with_teacher for seed, value in column.fine_tuning_seeds(name).items()}
    distinct = len({*keys.values()})
    if distinct == 1 or (distinct == len(keys) and len({*seeds.values()}) == len(seeds)):
        return None  # one for all runs, or one per seed
    folders = " and ".join(str(column.source.folder) for column in with_teacher)
    return f"the runs of different seeds in {folders} have different teachers {name}, so they are not comparable"


def listed(found: Iterable[str]) -> str:
    """The first `SHOWN` differences, and how many more there are."""
    lines = list(found)
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more
