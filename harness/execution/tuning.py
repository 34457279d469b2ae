"""Tuning: before the runs of a task are trained, the trials of all rows, side by side, one of each row at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.api.errors import UserError
from harness.execution import run_records
from harness.execution.optuna_trials import Journal, propose
from harness.execution.signals import locked
from harness.execution.student_cohorts import StudentCohorts
from harness.execution.student_runs import FinishedStudent
from harness.metrics.task_scores import TaskScores
from harness.planning import RunJob, tuning_studies
from harness.planning.tuning_studies import Study
from harness.storage import atomic_writes, provenance
from harness.storage.tuning_records import Trial, TuningRecord


@dataclass
class Tuning:
    """Chooses the values that runs take over. The records of the studies are in the store, and what ends is kept trial
    by trial: whoever is stopped goes on with the very same trials."""

    cohorts: StudentCohorts
    _tasks: set[str] = field(default_factory=set)

    def settled(self, jobs: Sequence[RunJob]) -> list[RunJob]:
        """The runs of a task, with what was chosen for their rows; all rows of that task that have runs to train are
        tuned first, if they are not yet.

        Raises:
            Interrupted: it was told to stop.
        """
        task = jobs[0].planned.task
        if task not in self._tasks:
            rows = [job for job in self.cohorts.missing if job.planned.task == task]
            self._tune(tuning_studies.every(rows, self.cohorts.plan.spec))
            self._tasks.add(task)
        return [self._settled(job) for job in jobs]

    def _settled(self, job: RunJob) -> RunJob:
        study = tuning_studies.of(job, self.cohorts.plan.spec)
        if study is None:
            return job
        record = self.cohorts.context.store.tuning(study.key)
        assert record is not None  # all rows of the task were tuned
        return study.settled(job, record)

    def _tune(self, asked: Sequence[Study]) -> None:
        """See that the store has the record of every study."""
        store, started = self.cohorts.context.store, provenance.now()
        missing = [study for study in asked if store.tuning(study.key) is None]
        if not missing:
            return
        with locked(
            store.folder / "tuning" / "journals", self.cohorts.context.stop
        ):  # another process may be at the same rows
            journals = [Journal(store.journal(study.key), study) for study in missing]
            while waiting := [each for each in journals if len(each.trials) < each.study.spec.trials]:
                self._round(waiting)
            for journal in journals:
                store.save_tuning(self._record(journal, started))

    def _round(self, journals: Sequence[Journal]) -> None:
        """The next trial of each."""
        asked: dict[str, _Asked] = {}
        for journal in journals:
            number, values = len(journal.trials), propose(journal.study, journal.trials)
            try:
                job = journal.study.trial(number, values)
            except UserError as error:
                journal.add(Trial(number=number, values=values, score=None, error=str(error), steps=0, seconds=0.0))
            else:
                asked[job.planned.key] = _Asked(journal, values, job)
        for cohort in self.cohorts.plan.cohorts([each.job for each in asked.values()]):
            for student in self.cohorts.train(cohort):
                key = student.finished.run.id.key
                asked[key].journal.add(self._trial(student, asked[key].values))
                atomic_writes.forget(self.cohorts.context.store.checkpoint(key))

    def _trial(self, student: FinishedStudent, values: Mapping[str, Any]) -> Trial:
        """Score a run that has ended on the held-out examples; a failure in it is the trial's own."""
        finished = student.finished
        scored, cost = finished.scored(lambda: self._scored(student))
        seconds = cost.student_seconds + cost.teacher_seconds + cost.evaluation_seconds
        finished.notify(self.cohorts.context.host, scored, seconds)
        return Trial(
            number=student.job.trial or 0,
            values=dict(values),
            score=scored.score if scored else None,
            error=finished.run.error,
            steps=cost.steps,
            seconds=seconds,
        )

    def _scored(self, student: FinishedStudent) -> TaskScores:
        """The score on the held-out examples. Raises `ValueError` if it is not finite."""
        scored = student.scored(self.cohorts.context, "selection")
        if scored.score is None or not math.isfinite(scored.score):
            raise ValueError(f"its {student.data.task.score} is {scored.score}, which is not finite")
        return scored

    def _record(self, journal: Journal, started: str) -> TuningRecord:
        study = journal.study
        planned, data = study.job.planned, study.job.data
        return TuningRecord(
            key=study.key,
            task=planned.task,
            method=planned.method,
            label=planned.label,
            student=planned.student,
            seed=study.spec.seed,
            metric=data.task.score,
            higher_is_better=study.higher_is_better,
            data_fingerprint=study.parts["tuning"]["examples"],
            space={name: dimension.plain for name, dimension in study.space.items()},
            trials=journal.trials,
            parts=dict(study.parts),
            provenance=run_records.provenance_of(self.cohorts.device, started),
        )


@dataclass(frozen=True)
class _Asked:
    """A trial that is to be run."""

    journal: Journal
    values: dict[str, Any]
    job: RunJob
