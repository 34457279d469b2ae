"""What is to be done, in steps and in memory: known before any training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.plan.jobs import RunJob, TaskData
from harness.plan.plan import Plan
from harness.training import kept, memory
from harness.training.schedule import stage_steps


@dataclass(frozen=True)
class Estimate:
    """`teacher_passes` are forward passes of a teacher over one batch, to fill the cache among them where tensors are
    kept, which it may be already; `teacher_passes_apart`, what they would be if every run had its teachers to itself.
    QA is counted with one window a question, and where there is a token budget all examples are taken to be as long as
    they may be. `memory_gb` is what the largest cohort takes, of the `room_gb` that there is: cohorts are split to fit,
    and only a run that does not fit by itself goes beyond it."""

    runs: int
    cohorts: int
    student_steps: int
    teacher_passes: int
    teacher_passes_apart: int
    memory_gb: float
    room_gb: float


def estimate(plan: Plan, jobs: Sequence[RunJob]) -> Estimate:
    """Of the runs given."""
    steps = passes = apart = 0
    cohorts = plan.cohorts(jobs)
    shelves: dict[tuple[str, str], int] = {}
    for cohort in cohorts:
        read: dict[str, set[int]] = {}
        for job in cohort:
            begin = 0
            for needs, length in _stages(plan, job):
                for teacher, names in zip(job.teachers, needs, strict=False):
                    if names and job.kept:
                        shelves[teacher.key, job.reader.fingerprint] = _batches(job.data, kept.BATCH_SIZE)
                    elif names:
                        read.setdefault(teacher.key, set()).update(range(begin, begin + length))
                    apart += length if names else 0
                begin += length
            steps += begin
        passes += sum(len(places) for places in read.values())
    passes += sum(shelves.values())
    most = max((memory.peak([*map(plan.load, cohort)]) for cohort in cohorts), default=0)
    runs = sum(len(cohort) for cohort in cohorts)
    return Estimate(runs, len(cohorts), steps, passes, apart, most / 1e9, plan.room / 1e9)


def _stages(plan: Plan, job: RunJob) -> list[tuple[tuple[frozenset[str], ...], int]]:
    """What each stage reads of its teachers, and how many steps it has."""
    stages = job.method.stages()
    lengths = stage_steps(
        stages,
        job.cell.variant.stages,
        epochs=plan.spec.training.epochs,
        batches_per_epoch=_batches(job.data, plan.spec.training.full_batch),
    )
    return [(stage.needs.teachers, length) for stage, length in zip(stages, lengths, strict=True)]


def _batches(data: TaskData, batch_size: int) -> int:
    return math.ceil(len(data.splits.train) / batch_size)
