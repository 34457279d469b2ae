"""Tunes options of methods: runs the trials of all rows of a task in rounds, one trial of each row per round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.api.errors import UserError
from harness.execution import run_records
from harness.execution.optuna_trials import propose
from harness.execution.signals import locked
from harness.execution.student_cohorts import StudentCohorts
from harness.execution.student_runs import FinishedStudent
from harness.execution.trial_journal import Journal
from harness.metrics.task_scores import TaskScores
from harness.planning import RunJob, tuning_studies
from harness.planning.tuning_studies import Study
from harness.storage import atomic_writes, provenance
from harness.storage.disk_errors import DiskError
from harness.storage.tuning_records import Trial, TuningRecord


@dataclass
class Tuning:
    """Tunes the rows of a task before its runs are trained.

    The store has the records of finished studies, and a journal of each unfinished study: an interrupted tuning
    resumes with the same trials.
    """

    cohorts: StudentCohorts
    _tasks: set[str] = field(default_factory=set)

    def settled(self, jobs: Sequence[RunJob]) -> list[RunJob]:
        """Return the runs of a task with the tuned values of their rows.

        The first call for a task tunes all rows of the task that have runs to train.

        Raises:
            Interrupted: the process was asked to stop; the next call continues.
        """
        task = jobs[0].planned.task
        if task not in self._tasks:
            rows = [job for job in self.cohorts.missing if job.planned.task == task]
            self._tune(tuning_studies.every(rows, self.cohorts.plan.spec))
            self._tasks.add(task)
        return [self._with_tuned_values(job) for job in jobs]

    def _with_tuned_values(self, job: RunJob) -> RunJob:
        study = tuning_studies.of(job, self.cohorts.plan.spec)
        if study is None:
            return job
        record = self.cohorts.context.store.tuning(study.key)
        assert record is not None  # all rows of the task were tuned
        return study.settled(job, record)

    def _tune(self, studies: Sequence[Study]) -> None:
        """Run the remaining trials of all studies without a record, and store their records."""
        store, started = self.cohorts.context.store, provenance.now()
        missing = [study for study in studies if store.tuning(study.key) is None]
        if not missing:
            return
        # Another process may be tuning the same rows.
        with locked(store.folder / "tuning" / "journals", self.cohorts.context.stop):
            journals = [Journal(store.journal(study.key), study) for study in missing]
            while unfinished := [journal for journal in journals if len(journal.trials) < journal.study.spec.trials]:
                self._round(unfinished)
            for journal in journals:
                store.save_tuning(self._record(journal, started))

    def _round(self, journals: Sequence[Journal]) -> None:
        """Run the next trial of each study, and add it to its journal."""
        proposed: dict[str, _ProposedTrial] = {}
        for journal in journals:
            number, values = len(journal.trials), propose(journal.study, journal.trials)
            try:
                job = journal.study.trial(number, values)
            except DiskError:
                raise
            except UserError as error:
                journal.add(Trial(number=number, values=values, score=None, error=str(error), steps=0, seconds=0.0))
            else:
                proposed[job.planned.key] = _ProposedTrial(journal, values, job)
        for cohort in self.cohorts.plan.cohorts([trial.job for trial in proposed.values()]):
            for student in self.cohorts.train(cohort):
                key = student.finished.run.id.key
                proposed[key].journal.add(self._trial(student, proposed[key].values))
                atomic_writes.forget(self.cohorts.context.store.checkpoint(key))

    def _trial(self, student: FinishedStudent, values: Mapping[str, Any]) -> Trial:
        """Score a trial's run on the held-out split. An exception in it fails this trial only."""
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
        """Score a student on the held-out split. Raises `ValueError` if the score is not finite."""
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
class _ProposedTrial:
    """A trial that is to be run, and the journal of its study."""

    journal: Journal
    values: dict[str, Any]
    job: RunJob
