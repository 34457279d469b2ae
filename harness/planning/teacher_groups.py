"""Group the teachers that a method fine-tunes together. Runs with equal requests share a group."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from harness.api.method import Cofinetuning
from harness.planning import keys
from harness.planning.jobs import Group, TeacherJob
from harness.resolution.request_options import options_of
from harness.resolution.suite import MethodVariant
from harness.storage.hashing import key


class TeacherGroups:
    """The groups of a plan. A group that several rows share has the label of the first row, on every task."""

    def __init__(self) -> None:
        self._labels: dict[tuple[object, ...], str] = {}
        self._members: dict[tuple[str, str, int | None], tuple[TeacherJob, ...]] = {}

    def together(
        self, alone: Sequence[TeacherJob], variant: MethodVariant, cofinetuning: Cofinetuning
    ) -> tuple[TeacherJob, ...]:
        """Return the teachers `alone` of one task as members of a group.

        A teacher with a single seed is a member of the group of each seed.
        """
        options = json.dumps(options_of(cofinetuning, variant.config), sort_keys=True)
        request = (variant.method.name, variant.teachers, options)
        label = self._labels.setdefault(request, variant.label)
        seed_index = next((job.seed_index for job in alone if job.seed_index is not None), None)
        group_id = alone[0].data.task.name, label, seed_index
        if group_id not in self._members:
            self._members[group_id] = _members(alone, variant, cofinetuning, label, seed_index)
        return self._members[group_id]


def _members(
    alone: Sequence[TeacherJob], variant: MethodVariant, cofinetuning: Cofinetuning, label: str, seed_index: int | None
) -> tuple[TeacherJob, ...]:
    shortest = min(job.training.max_length for job in alone)  # every member can encode this many tokens
    settings = alone[0].training.model_copy(update={"max_length": shortest})
    parts = keys.group(alone, variant.method, options_of(cofinetuning, variant.config), settings)
    group = Group(label, tuple(alone), cofinetuning, key(parts))
    seeds = "" if seed_index is None else f", seeds {' and '.join(str(job.spec.seed) for job in alone)}"
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
            seed_index=seed_index,
        )
        for index, job in enumerate(alone)
    )
