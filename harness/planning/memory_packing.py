"""Which runs of a cohort have room in memory beside each other. Those that have not come one after another, and each
part of the cohort pays its teachers for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch

from harness.api.method import Stage
from harness.config.schema import TrainingSpec
from harness.planning import memory_estimate
from harness.planning.jobs import GeneralJob, RunJob

Job = TypeVar("Job")


def of_run(job: RunJob, training: TrainingSpec, device: str) -> memory_estimate.Load:
    """What a run brings into its cohort."""
    task, tokens = job.data.task, training.max_length
    outputs = 2 * tokens if task.kind == "qa" else task.num_labels
    reading = memory_estimate.Reading(training.max_batch_size, tokens, len(job.reader.tokenizer), outputs)
    stages = job.method.stages()
    teachers = {
        teacher.key: (shape, _asked(stages, index))
        for index, (teacher, shape) in enumerate(zip(job.teachers, job.method.teachers, strict=True))
    }
    return memory_estimate.load(
        job.method.student,
        _students(stages),
        teachers,
        reading,
        training,
        fused=_fused(device),
        copied=job.best_epoch and not _fused(device),
    )


def of_general(job: GeneralJob, device: str) -> memory_estimate.Load:
    """What a student brings into a stage on unlabelled text, where logits are over the vocabulary."""
    training, vocabulary = job.training, len(job.reader.tokenizer)
    reading = memory_estimate.Reading(
        training.batch_size, training.max_length, vocabulary, training.max_length * vocabulary
    )
    stages = [job.general.stage]
    (teacher,) = job.method.teachers
    teachers = {job.cohort[0]: (teacher, _asked(stages, 0))}
    return memory_estimate.load(
        job.method.student, _students(stages), teachers, reading, training, fused=_fused(device)
    )


def split(jobs: Sequence[Job], load: Callable[[Job], memory_estimate.Load], room: int) -> list[list[Job]]:
    """The jobs in their order, as many side by side as have room. One that has none by itself stands alone."""
    parts: list[list[Job]] = []
    loads: list[memory_estimate.Load] = []
    for job in jobs:
        own = load(job)
        if not parts or memory_estimate.peak([*loads, own]) > room:
            parts.append([])
            loads = []
        parts[-1].append(job)
        loads.append(own)
    return parts


def _students(stages: Iterable[Stage]) -> list[tuple[frozenset[str], bool]]:
    return [(stage.needs.student, not stage.batch_dependent) for stage in stages]


def _asked(stages: Iterable[Stage], index: int) -> frozenset[str]:
    """All that any of the stages reads of a teacher."""
    return frozenset(name for stage in stages for names in stage.needs.teachers[index : index + 1] for name in names)


def _fused(device: str) -> bool:
    return torch.device(device).type == "cuda"
