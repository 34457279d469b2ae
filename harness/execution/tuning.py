"""Tunes options of methods: runs the trials of all rows of a task in rounds, one trial of each row per round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.api.errors import UserError
from harness.execution import run_records
from harness.execution.optuna_trials import propose
from harness.execution.student_cohorts import StudentCohorts, UnbuiltStudent
from harness.execution.student_runs import FinishedStudent
from harness.execution.trial_journal import Journal
from harness.metrics.task_scores import TaskScores
from harness.planning import RunJob
from harness.planning.tuning_studies import Study
from harness.storage import atomic_writes, provenance
from harness.storage.disk_errors import DiskError
from harness.storage.tuning_records import Trial, TuningRecord


def tune(studies: Sequence[Study], cohorts: StudentCohorts) -> None:
    """Run the remaining trials of studies of a task, and store the records of the studies.

    Each unfinished study has a journal in the store: an interrupted tuning resumes with the same trials.

    Raises:
        Interrupted: the process was asked to stop; the next call continues.
    """
    _Tuning(cohorts).tune(studies)


@dataclass(frozen=True)
class _Tuning:
    cohorts: StudentCohorts

    def tune(self, studies: Sequence[Study]) -> None:
        store, started = self.cohorts.context.store, provenance.now()
        journals = [Journal(store.journal(study.key), study) for study in studies]
        while unfinished := [journal for journal in journals if len(journal.trials) < journal.study.spec.trials]:
            self._round(unfinished)
        for journal in journals:
            # First: a kill between the two leaves nothing behind, and the journal has all trials.
            atomic_writes.forget(store.trial_checkpoints(journal.study.key))
            store.save_tuning(self._record(journal, started))

    def _round(self, journals: Sequence[Journal]) -> None:
        """Run the next trial of each study, and add it to its journal.

        A trial with the values of an earlier one is not run: it would get the same score.
        """
        proposed: dict[str, _ProposedTrial] = {}
        for journal in journals:
            trials = journal.trials
            number, values = len(trials), propose(journal.study, trials)
            if (equal := _scored_with(values, trials)) is not None:
                journal.add(equal.model_copy(update={"number": number, "steps": 0, "seconds": 0.0}))
                continue
            try:
                job = journal.study.trial(number, values)
            except DiskError:
                raise
            except UserError as error:
                journal.add(_failed_trial(number, values, str(error)))
            else:
                proposed[job.planned.key] = _ProposedTrial(journal, values, job)
        studies = {key: trial.journal.study.key for key, trial in proposed.items()}
        cohorts = replace(self.cohorts, studies=studies)
        for cohort in cohorts.plan.cohorts([trial.job for trial in proposed.values()]):
            for student in cohorts.train(cohort):
                key = student.job.planned.key
                journal, values = proposed[key].journal, proposed[key].values
                if isinstance(student, UnbuiltStudent):
                    journal.add(_failed_trial(len(journal.trials), values, student.error))
                else:
                    journal.add(self._trial(student, values))
                atomic_writes.forget(cohorts.context.store.checkpoint(key, studies[key]))

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
        assert data.selection_fingerprint is not None  # a suite with tuning has a selection
        return TuningRecord(
            key=study.key,
            task=planned.task,
            method=planned.method,
            label=planned.label,
            student=planned.student,
            seed=study.spec.seed,
            metric=data.task.score,
            higher_is_better=study.higher_is_better,
            data_fingerprint=data.selection_fingerprint,
            space={name: dimension.plain for name, dimension in study.space.items()},
            trials=journal.trials,
            parts=dict(study.parts),
            provenance=run_records.provenance_of(self.cohorts.device, started),
        )


def _scored_with(values: Mapping[str, Any], trials: Sequence[Trial]) -> Trial | None:
    """The first trial with these values that has a score; None if there is none."""
    return next((trial for trial in trials if trial.values == values and trial.score is not None), None)


def _failed_trial(number: int, values: dict[str, Any], error: str) -> Trial:
    """A trial that failed before its first step."""
    return Trial(number=number, values=values, score=None, error=error, steps=0, seconds=0.0)


@dataclass(frozen=True)
class _ProposedTrial:
    """A trial that is to be run, and the journal of its study."""

    journal: Journal
    values: dict[str, Any]
    job: RunJob
