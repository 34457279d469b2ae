"""Builders of artifacts: one for each kind of job. Each finds, claims and builds artifacts of its kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from harness.api.errors import UserError, one_line
from harness.execution import augmented_data, teacher_cache, teacher_runs, text_student_files, text_students
from harness.execution.context import JobContext
from harness.execution.student_cohorts import StudentCohorts, UnbuiltStudent
from harness.execution.student_runs import finish
from harness.execution.teacher_scoring import TeacherScoring
from harness.execution.tokenized_tasks import TokenizedTasks
from harness.planning import Plan, tuning_studies
from harness.planning.job_graph import Artifact, AssistantCopy, JobKind, OutputsToCache, TeacherTraining
from harness.planning.jobs import AugmentationJob, RunJob, TextStageJob
from harness.planning.tuning_studies import Study
from harness.storage.disk_errors import DiskError

Built = tuple[Artifact, str | None]
"""An artifact that was built, or why it could not be built. A failed run has its record already."""

W = TypeVar("W")


class ArtifactBuilder(Protocol):
    """Builds artifacts of one kind."""

    def target(self, artifact: Artifact) -> Path:
        """The path that a process claims before it builds the artifact."""

    def is_done(self, artifact: Artifact, *, verify: bool = True) -> bool:
        """Whether the artifact exists and, with `verify`, is where jobs read it and matches its checksums."""

    def build(self, artifacts: Sequence[Artifact]) -> Iterator[Built]:
        """Build the artifacts of a job together, and yield each as it ends.

        Raises:
            Interrupted: the process was asked to stop; the next call continues.
            Exception: the artifacts that were not yielded have failed with it.
        """


def builders(plan: Plan, context: JobContext, missing: Sequence[RunJob]) -> Mapping[JobKind, ArtifactBuilder]:
    """The builders of the jobs that train `missing`. They share tokenized tasks."""
    tokenized = TokenizedTasks()
    cohorts = StudentCohorts(plan, context, tokenized, missing)
    return {
        "text stage": _TextStages(context),
        "augmentation": _Augmentations(context),
        "teacher": _Teachers(TeacherScoring(plan, context, tokenized)),
        "assistant": _Assistants(context),
        "teacher outputs": _Outputs(cohorts),
        "tuning": _Tunings(cohorts),
        "cohort": _Cohorts(cohorts),
    }


def _work(artifact: Artifact, kind: type[W]) -> W:
    if not isinstance(artifact.work, kind):
        raise TypeError(f"{artifact.title}: expected {kind.__name__}, got {type(artifact.work).__name__}")
    return artifact.work


@dataclass(frozen=True)
class _TextStages:
    context: JobContext

    def target(self, artifact: Artifact) -> Path:
        return text_student_files.cached(_work(artifact, TextStageJob)).path

    def is_done(self, artifact: Artifact, *, verify: bool = True) -> bool:
        return text_student_files.is_done(_work(artifact, TextStageJob), self.context.store, verify=verify)

    def build(self, artifacts: Sequence[Artifact]) -> Iterator[Built]:
        by_key = {artifact.key: artifact for artifact in artifacts}
        for job, error in text_students.make([_work(artifact, TextStageJob) for artifact in artifacts], self.context):
            yield by_key[job.key], error


@dataclass(frozen=True)
class _Augmentations:
    context: JobContext

    def target(self, artifact: Artifact) -> Path:
        return augmented_data.cached(_work(artifact, AugmentationJob)).path

    def is_done(self, artifact: Artifact, *, verify: bool = True) -> bool:
        return augmented_data.cached(_work(artifact, AugmentationJob)).is_kept(verify=verify)

    def build(self, artifacts: Sequence[Artifact]) -> Iterator[Built]:
        for artifact in artifacts:
            augmented_data.make(_work(artifact, AugmentationJob), self.context)
            yield artifact, None


@dataclass(frozen=True)
class _Teachers:
    scoring: TeacherScoring

    def target(self, artifact: Artifact) -> Path:
        return teacher_runs.cached(_work(artifact, TeacherTraining).members[0]).path

    def is_done(self, artifact: Artifact, *, verify: bool = True) -> bool:
        training = _work(artifact, TeacherTraining)
        needed = training.weights_needed
        return all(self.scoring.is_complete(job, weights_needed=needed, verify=verify) for job in training.members)

    def build(self, artifacts: Sequence[Artifact]) -> Iterator[Built]:
        for artifact in artifacts:
            training = _work(artifact, TeacherTraining)
            needed = training.weights_needed
            events = [self.scoring.complete(job, weights_needed=needed) for job in training.members]
            for event in filter(None, events):  # not before: if a member fails, all of them have failed
                self.scoring.context.host.notify("harness_run_finished", event)
            yield artifact, None


@dataclass(frozen=True)
class _Assistants:
    context: JobContext

    def target(self, artifact: Artifact) -> Path:
        return teacher_runs.cached(_work(artifact, AssistantCopy).teacher).path

    def is_done(self, artifact: Artifact, *, verify: bool = True) -> bool:
        return teacher_runs.is_copied(_work(artifact, AssistantCopy).teacher, self.context.store, verify=verify)

    def build(self, artifacts: Sequence[Artifact]) -> Iterator[Built]:
        for artifact in artifacts:
            teacher_runs.copy_student(_work(artifact, AssistantCopy).teacher, self.context.store)
            yield artifact, None


@dataclass(frozen=True)
class _Outputs:
    cohorts: StudentCohorts

    def target(self, artifact: Artifact) -> Path:
        return teacher_cache.root() / f"{artifact.key}.pass"

    def is_done(self, artifact: Artifact, *, verify: bool = True) -> bool:
        return False  # only the tokenized task tells which outputs are missing: `build` finds out

    def build(self, artifacts: Sequence[Artifact]) -> Iterator[Built]:
        for artifact in artifacts:
            outputs = _work(artifact, OutputsToCache)
            self.cohorts.cache_outputs(outputs.teacher, outputs.users)
            yield artifact, None


@dataclass(frozen=True)
class _Tunings:
    cohorts: StudentCohorts

    def target(self, artifact: Artifact) -> Path:
        return self.cohorts.context.store.journal(artifact.key)

    def is_done(self, artifact: Artifact, *, verify: bool = True) -> bool:
        return self.cohorts.context.store.tuning(artifact.key) is not None

    def build(self, artifacts: Sequence[Artifact]) -> Iterator[Built]:
        from harness.execution.tuning import tune  # imports Optuna, which only suites with tuning need

        tune([_work(artifact, Study) for artifact in artifacts], self.cohorts)
        for artifact in artifacts:
            yield artifact, None


@dataclass(frozen=True)
class _Cohorts:
    cohorts: StudentCohorts

    def target(self, artifact: Artifact) -> Path:
        return self.cohorts.context.store.run_folder(artifact.key)

    def is_done(self, artifact: Artifact, *, verify: bool = True) -> bool:
        record = self.cohorts.context.store.record(artifact.key)
        return record is not None and record.status == "completed"

    def build(self, artifacts: Sequence[Artifact]) -> Iterator[Built]:
        by_key = {artifact.key: artifact for artifact in artifacts}
        tuned: list[RunJob] = []
        for artifact in artifacts:
            try:
                tuned.append(self._tuned(_work(artifact, RunJob)))
            except DiskError:
                raise
            except UserError as error:  # the method rejects the tuned values, or their record is damaged
                yield artifact, one_line(error)
        equal_batches = len({job.cohort for job in tuned}) == 1  # tuned batch sizes may differ
        cohorts = [tuned] if equal_batches else self.cohorts.plan.cohorts(tuned)
        for cohort in cohorts:
            for student in self.cohorts.train(cohort):
                if isinstance(student, UnbuiltStudent):
                    yield by_key[student.job.planned.key], student.error
                else:
                    record = finish(student, self.cohorts.plan, self.cohorts.context)
                    yield by_key[record.key], record.error

    def _tuned(self, job: RunJob) -> RunJob:
        """The run with the tuned values of its row, if the row is tuned."""
        study = tuning_studies.of(job, self.cohorts.plan.spec)
        if study is None:
            return job
        record = self.cohorts.context.store.tuning(study.key)
        if record is None:
            raise AssertionError(f"{job.planned.label} on {job.planned.task} is not tuned")
        return study.settled(job, record)
