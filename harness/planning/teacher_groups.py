"""Teachers that a method wants trained together: one group for all runs that ask for the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from harness.api.method import Cofinetuning
from harness.planning import keys
from harness.planning.jobs import Group, TeacherJob
from harness.resolution.suite import MethodVariant
from harness.storage.hashing import key


class TeacherGroups:
    """The groups of a plan. One that two rows of the board share is named for the first of them, on every task."""

    def __init__(self) -> None:
        self._labels: dict[tuple[object, ...], str] = {}
        self._members: dict[tuple[str, str, int | None], tuple[TeacherJob, ...]] = {}

    def together(
        self, alone: Sequence[TeacherJob], variant: MethodVariant, cofinetuning: Cofinetuning
    ) -> tuple[TeacherJob, ...]:
        """The teachers `alone` of one task, as members of a group. One that has a single seed is a member of the group
        of each seed."""
        method, options = variant.method, json.dumps(dict(cofinetuning.options), sort_keys=True)
        asked = (method.name, variant.teachers, options)
        label = self._labels.setdefault(asked, variant.label)
        position = next((job.place for job in alone if job.place is not None), None)
        place = alone[0].data.task.name, label, position
        if place not in self._members:
            self._members[place] = _members(alone, variant, cofinetuning, label, position)
        return self._members[place]


def _members(
    alone: Sequence[TeacherJob], variant: MethodVariant, cofinetuning: Cofinetuning, label: str, position: int | None
) -> tuple[TeacherJob, ...]:
    shortest = min(job.training.max_length for job in alone)  # what every encoder can read
    settings = alone[0].training.model_copy(update={"max_length": shortest})
    parts = keys.group(alone, variant.method, cofinetuning.options, settings)
    group = Group(label, tuple(alone), cofinetuning, key(parts))
    seeds = "" if position is None else f", seeds {' and '.join(str(job.spec.seed) for job in alone)}"
    return tuple(
        replace(
            job,
            row=f"{job.row} ({label})",
            name=f"{job.row} ({label}{seeds})",
            training=settings,
            parts={"member": index, **parts},
            key=key({"member": index, **parts}),
            group=group,
            index=index,
            place=position,
        )
        for index, job in enumerate(alone)
    )
