"""Estimate the steps, teacher passes and memory of a plan before any training."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from harness.planning import memory_estimate
from harness.planning.jobs import RunJob
from harness.planning.plan import Plan
from harness.planning.stage_plan import planned_stages
from harness.planning.tuning_studies import Study
from harness.teacher_outputs import output_store


@dataclass(frozen=True)
class CostEstimate:
    """Estimated cost of runs and of the tuning before them.

    QA counts one window per question. With a token budget, every example counts as `max_length` tokens.

    Attributes:
        runs: number of distinct runs.
        cohorts: number of cohorts. They are split to fit in memory.
        student_steps: optimizer steps of all students.
        teacher_passes: forward passes of teachers over one batch, including those that fill the cache of teacher
            outputs (which may be filled already).
        teacher_passes_apart: the same number if no two runs shared a teacher's passes.
        memory_gb: peak memory of the largest cohort, in GB (1e9 bytes). It exceeds `room_gb` only if a single run does.
        room_gb: memory that a cohort may use, in GB.
        disk_gb: size of the students in the results folder, in GB.
        trials: trials per study.
        tuned_rows: number of studies; each tunes one row on one task and student.
        trial_steps: student steps of all trials.
        trial_passes: teacher passes of all trials, without those that fill the cache: `teacher_passes` has them.
    """

    runs: int
    cohorts: int
    student_steps: int
    teacher_passes: int
    teacher_passes_apart: int
    memory_gb: float
    room_gb: float
    disk_gb: float
    trials: int = 0
    tuned_rows: int = 0
    trial_steps: int = 0
    trial_passes: int = 0


@dataclass
class _Passes:
    """Counts of student steps and teacher passes, added cohort by cohort.

    `fresh` counts passes shared within a cohort, `apart` passes if no run shared them, and `cache_fills` the passes
    that cache one teacher's outputs for one tokenizer.
    """

    steps: int = 0
    fresh: int = 0
    apart: int = 0
    cache_fills: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, cohort: Sequence[RunJob]) -> None:
        steps_with_teacher: dict[str, set[tuple[int, int]]] = {}
        for job in cohort:
            start = 0
            for planned in planned_stages(job):
                length = planned.steps
                for teacher, names in zip(job.teachers, planned.stage.needs.teachers, strict=False):
                    if names and job.reads_cache:
                        self.cache_fills[teacher.key, job.tokenizer_ref.fingerprint] = output_store.count_batches(
                            job.data.train_examples
                        )
                    elif names:
                        steps_with_teacher.setdefault(teacher.key, set()).add((start, start + length))
                    self.apart += length if names else 0
                start += length
            self.steps += start
        self.fresh += sum(map(_union_length, steps_with_teacher.values()))


def estimate(plan: Plan, jobs: Sequence[RunJob], tuning: Sequence[Study] = ()) -> CostEstimate:
    """Estimate the cost of the runs `jobs` and of the studies `tuning` that precede them."""
    cohorts, passes = plan.cohorts(jobs), _Passes()
    for cohort in cohorts:
        passes.add(cohort)
    # A trial counts as a run that is not tuned yet: steps of the default values, memory of the largest batch size.
    trial_cohorts, trial_passes = plan.cohorts([study.job for study in tuning]), _Passes()
    for cohort in trial_cohorts:
        trial_passes.add(cohort)
    trials = tuning[0].spec.trials if tuning else 0
    peak = max((memory_estimate.peak([*map(plan.load, cohort)]) for cohort in [*cohorts, *trial_cohorts]), default=0)
    return CostEstimate(
        runs=sum(len(cohort) for cohort in cohorts),
        cohorts=len(cohorts),
        student_steps=passes.steps,
        teacher_passes=passes.fresh + sum(passes.cache_fills.values()),
        teacher_passes_apart=passes.apart,
        memory_gb=peak / 1e9,
        room_gb=plan.room / 1e9,
        disk_gb=sum(_student_bytes(plan, job) for cohort in cohorts for job in cohort) / 1e9,
        trials=trials,
        tuned_rows=len(tuning),
        trial_steps=trials * trial_passes.steps,
        trial_passes=trials * trial_passes.fresh,
    )


def _student_bytes(plan: Plan, job: RunJob) -> int:
    load = plan.load(job)
    return memory_estimate.FLOAT * memory_estimate.parameters(load.student, load.batch_shape.vocabulary)


def _union_length(intervals: Collection[tuple[int, int]]) -> int:
    """Return the number of steps in at least one interval (start, end)."""
    length, covered = 0, 0
    for start, end in sorted(intervals):
        length += max(0, end - max(start, covered))
        covered = max(covered, end)
    return length
