"""Split cohorts into parts that fit in memory.

The parts train one after another, and each runs its teachers again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch

from harness.api.method import Stage
from harness.planning import memory_estimate
from harness.planning.jobs import RunJob, TextStageJob

Job = TypeVar("Job")


def of_run(job: RunJob, device: str) -> memory_estimate.Load:
    """Return the memory that a run adds to its cohort."""
    task, training, tokens = job.data.task, job.training, job.training.max_length
    outputs = task.num_labels * (tokens if task.kind in ("token_classification", "qa") else 1)
    batch_shape = memory_estimate.BatchShape(job.max_batch_size, tokens, job.tokenizer_ref.size, outputs)
    teachers = {
        teacher.key: (shape, job.needs(index))
        for index, (teacher, shape) in enumerate(zip(job.teachers, job.method.teachers, strict=True))
    }
    return memory_estimate.load(
        job.method.student,
        _stage_loads(job.stages),
        teachers,
        batch_shape,
        training,
        fused=_has_fused_attention(device),
        copied=job.best_epoch and not _has_fused_attention(device),
    )


def of_text_stage(job: TextStageJob, device: str) -> memory_estimate.Load:
    """Return the memory that a student adds to its cohort in a text stage, where logits cover the vocabulary."""
    training, vocabulary = job.training, job.tokenizer_ref.size
    batch_shape = memory_estimate.BatchShape(
        training.batch_size, training.max_length, vocabulary, training.max_length * vocabulary
    )
    (teacher,) = job.method.teachers
    return memory_estimate.load(
        job.method.student,
        _stage_loads([job.general.stage]),
        {job.cohort[0]: (teacher, frozenset(*job.general.stage.needs.teachers))},
        batch_shape,
        training,
        fused=_has_fused_attention(device),
    )


def split(jobs: Sequence[Job], load: Callable[[Job], memory_estimate.Load], room: int) -> list[list[Job]]:
    """Split the jobs, in order, into parts whose peak is at most `room` bytes. A larger job gets its own part."""
    parts: list[list[Job]] = []
    cohort: memory_estimate.CohortLoad | None = None
    for job in jobs:
        job_load = load(job)
        if cohort is None or cohort.peak_with(job_load) > room:
            parts.append([])
            cohort = memory_estimate.CohortLoad(job_load)
        else:
            cohort.add(job_load)
        parts[-1].append(job)
    return parts


def _stage_loads(stages: Iterable[Stage]) -> list[memory_estimate.StageLoad]:
    return [
        memory_estimate.StageLoad(
            stage.needs.student, not stage.batch_dependent, live=stage.live, average=stage.average is not None
        )
        for stage in stages
    ]


def _has_fused_attention(device: str) -> bool:
    return torch.device(device).type == "cuda"
