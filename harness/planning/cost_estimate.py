"""What is to be done, in steps and in memory: known before any training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.planning import memory_estimate
from harness.planning.jobs import RunJob, TaskData
from harness.planning.plan import Plan
from harness.planning.tuning_studies import Study
from harness.teacher_outputs import output_store
from harness.training.schedule import stage_steps


@dataclass(frozen=True)
class Estimate:
    """`teacher_passes` are forward passes of a teacher over one batch, to fill the cache among them where tensors are
    kept, which it may be already; `teacher_passes_apart`, what they would be if every run had its teachers to itself.
    QA is counted with one window a question, and where there is a token budget all examples are taken to be as long as
    they may be. `memory_gb` is what the largest cohort takes, of the `room_gb` that there is: cohorts are split to fit,
    and only a run that does not fit by itself goes beyond it. Tuning comes before that: `trials` runs of each of
    `tuned_rows` (on a task, with a student), with `trial_steps` of students and `trial_passes` of teachers in all; what
    fills the cache is counted with the runs."""

    runs: int
    cohorts: int
    student_steps: int
    teacher_passes: int
    teacher_passes_apart: int
    memory_gb: float
    room_gb: float
    trials: int = 0
    tuned_rows: int = 0
    trial_steps: int = 0
    trial_passes: int = 0


@dataclass
class _Passes:
    """Of runs, by cohorts: steps of students, passes of teachers that run for a cohort or would for each run, and of
    those that fill the cache."""

    steps: int = 0
    fresh: int = 0
    apart: int = 0
    shelves: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, cohort: Sequence[RunJob]) -> None:
        read: dict[str, set[int]] = {}
        for job in cohort:
            begin = 0
            for needs, length in _stages(job):
                for teacher, names in zip(job.teachers, needs, strict=False):
                    if names and job.kept:
                        self.shelves[teacher.key, job.reader.fingerprint] = _batches(job.data, output_store.BATCH_SIZE)
                    elif names:
                        read.setdefault(teacher.key, set()).update(range(begin, begin + length))
                    self.apart += length if names else 0
                begin += length
            self.steps += begin
        self.fresh += sum(len(places) for places in read.values())


def estimate(plan: Plan, jobs: Sequence[RunJob], tuning: Sequence[Study] = ()) -> Estimate:
    """Of the runs given, and of the studies that come before them."""
    cohorts, passes = plan.cohorts(jobs), _Passes()
    for cohort in cohorts:
        passes.add(cohort)
    # Every trial takes what the one with the defaults does.
    first, of_trials = plan.cohorts([study.trial(0, study.defaults) for study in tuning]), _Passes()
    for cohort in first:
        of_trials.add(cohort)
    trials = tuning[0].spec.trials if tuning else 0
    most = max((memory_estimate.peak([*map(plan.load, cohort)]) for cohort in [*cohorts, *first]), default=0)
    return Estimate(
        runs=sum(len(cohort) for cohort in cohorts),
        cohorts=len(cohorts),
        student_steps=passes.steps,
        teacher_passes=passes.fresh + sum(passes.shelves.values()),
        teacher_passes_apart=passes.apart,
        memory_gb=most / 1e9,
        room_gb=plan.room / 1e9,
        trials=trials,
        tuned_rows=len(tuning),
        trial_steps=trials * of_trials.steps,
        trial_passes=trials * of_trials.fresh,
    )


def _stages(job: RunJob) -> list[tuple[tuple[frozenset[str], ...], int]]:
    """What each stage reads of its teachers, and how many steps it has."""
    stages = job.method.stages()
    lengths = stage_steps(
        stages,
        job.cell.variant.stages,
        epochs=job.training.epochs,
        batches_per_epoch=_batches(job.data, job.training.max_batch_size),
    )
    return [(stage.needs.teachers, length) for stage, length in zip(stages, lengths, strict=True)]


def _batches(data: TaskData, batch_size: int) -> int:
    return math.ceil(len(data.splits.train) / batch_size)
