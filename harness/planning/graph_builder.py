"""Build the job graph of a plan for the runs that are missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import torch

from harness.api.engine import Resources
from harness.planning import memory_packing, scheduling, tuning_studies
from harness.planning.job_graph import (
    Artifact,
    AssistantCopy,
    Job,
    JobGraph,
    JobKind,
    OutputsToCache,
    TeacherTraining,
)
from harness.planning.jobs import CohortId, RunJob, TeacherJob, TextStageJob
from harness.planning.memory_estimate import peak
from harness.planning.plan import Plan
from harness.planning.time_estimate import START_SECONDS, TimeEstimate
from harness.storage.hashing import key


def build(
    plan: Plan,
    missing: Sequence[RunJob],
    *,
    workers: int = 1,
    threads: int | None = None,
    board_teachers: bool = True,
) -> JobGraph:
    """Build the graph of the jobs that train `missing`, the teachers of the board, latency and report.

    Args:
        plan: the plan.
        missing: the runs to train.
        workers: number of workers that share the jobs; cohorts are split if that saves time.
        threads: CPU threads of each worker; default: those of this process.
        board_teachers: whether to include teachers that no run of `missing` needs, for their rows on the board.
    """
    builder = _GraphBuilder(plan, missing, threads or torch.get_num_threads(), board_teachers=board_teachers)
    return scheduling.share(builder.graph(), workers, builder.cohort)


def teacher_key(job: TeacherJob) -> str:
    """Key of the artifact of a teacher: jointly trained teachers are one artifact.

    The artifact of a teacher that is a row of the suite is a copy of the student of its run.
    """
    if job.run is not None:
        return _copy_key(job.key)
    return job.group.key if job.group else job.key


@lru_cache(maxsize=4096)
def _copy_key(run: str) -> str:
    return key({"teacher from the student of": run})


def outputs_key(teacher: TeacherJob, run: RunJob) -> str:
    """Key of a teacher's cached outputs for the run's tokenizer and lengths."""
    places = teacher.tokenizer_ref.encoding_id(run.tokenizer_ref.fingerprint)
    return _outputs_key(teacher.key, run.tokenizer_ref.fingerprint, places, run.training.max_length)


@lru_cache(maxsize=4096)  # the runs of a task share a few keys
def _outputs_key(teacher: str, tokenizer: str, places: str, max_length: int) -> str:
    return key({"outputs of": teacher, "reader": tokenizer, "places": places, "max_length": max_length})


class _GraphBuilder:
    def __init__(self, plan: Plan, missing: Sequence[RunJob], threads: int, *, board_teachers: bool) -> None:
        self.plan = plan
        self.missing = list({job.planned.key: job for job in missing}.values())  # two labels with one key are one run
        self.threads = threads
        self.board_teachers = board_teachers
        self.estimate = TimeEstimate(plan.device, threads, plan.resolved.shapes)
        self.studies = tuning_studies.every(self.missing, plan.spec)

    def graph(self) -> JobGraph:
        before = [*self._text_stages(), *self._augmentations(), *self._teachers()]
        per_task = list(self._per_task())
        return JobGraph((*before, *per_task, *self._latency_and_report([*before, *per_task])))

    def _per_task(self) -> Iterator[Job]:
        """Cached outputs, tuning and cohorts, task by task: a task's data are then tokenized once.

        Runs that learn from students of other runs come after these.
        """
        for task in dict.fromkeys(job.planned.task for job in self.missing):
            runs = [job for job in self.missing if job.planned.task == task]
            studies = [study for study in self.studies if study.job.planned.task == task]
            readers = [*runs, *(study.job for study in studies)]
            for depth in sorted({teacher.depth for run in readers for teacher in run.teachers} | {0}):
                yield from self._assistants(readers, depth)
                yield from self._outputs(readers, depth)
                yield from self._tuning([study for study in studies if study.job.depth == depth])
                for cohort in self.plan.cohorts([run for run in runs if run.depth == depth]):
                    yield self.cohort(cohort)

    def _assistants(self, runs: Sequence[RunJob], depth: int) -> Iterator[Job]:
        """Copies of students that teach `runs`, those with the given length of the chain before them."""
        trained = {job.planned.key for job in self.missing}
        teachers = {job.key: job for run in runs for job in run.teachers if job.run is not None and job.depth == depth}
        for teacher in teachers.values():
            task = teacher.data.task.name
            needs = (teacher.key,) if teacher.key in trained else ()  # else the store has it
            title = f"teacher {teacher.name} on {task}, a copy of its student"
            artifact = Artifact(teacher_key(teacher), title, needs, AssistantCopy(teacher))
            yield self._job("assistant", [artifact], 0, task)

    def _text_stages(self) -> Iterator[Job]:
        groups: dict[tuple[str, str, float, float], list[TextStageJob]] = {}
        stages = self.plan.text_stages(self.missing)
        for stage in sorted(stages, key=lambda job: job.assistant is not None):
            groups.setdefault(stage.cohort, []).append(stage)
        for group in groups.values():
            artifacts = [
                Artifact(
                    stage.key,
                    f"student {stage.student} of {stage.label} on text",
                    (stage.assistant.key,) if stage.assistant else (),
                    stage,
                    self.estimate.text_stage(stage),
                )
                for stage in group
            ]
            memory = peak([memory_packing.of_text_stage(stage, self.plan.device) for stage in group])
            yield self._job("text stage", artifacts, memory)

    def _augmentations(self) -> Iterator[Job]:
        for job in self.plan.augmentations(self.missing):
            title = f"augmented data of {job.data.task.name} for {job.label}"
            artifact = Artifact(job.key, title, (), job, self.estimate.augmentation(job))
            yield self._job("augmentation", [artifact], 0, job.data.task.name)

    def _teachers(self) -> Iterator[Job]:
        runs = [*self.missing, *(study.job for study in self.studies)]
        needed = {model.key for run in runs for model in self._fine_tuned_models(run)}
        groups: dict[str, list[TeacherJob]] = {}
        for job in self.plan.teachers:
            groups.setdefault(teacher_key(job), []).append(job)
        for artifact_key, members in groups.items():
            task = members[0].data.task.name
            is_needed = any(member.key in needed for member in members)
            if not (is_needed or self.board_teachers):
                continue
            work = TeacherTraining(tuple(members), is_needed)
            names = " and ".join(member.name for member in members)
            plural = "s" * (len(members) > 1)
            seconds = sum(map(self.estimate.teacher, members))
            title = f"teacher{plural} {names} on {task}" if members[0].spec.finetune else f"score of {names} on {task}"
            artifact = Artifact(artifact_key, title, (), work, seconds)
            yield self._job("teacher", [artifact], 0, task)

    def _outputs(self, runs: Sequence[RunJob], depth: int) -> Iterator[Job]:
        """Cached outputs that `runs` read, of the teachers with the given length of the chain before them."""
        users: dict[str, list[RunJob]] = {}
        artifacts: dict[str, Artifact] = {}
        for run, index, teacher in _cached_teachers(runs):
            if teacher.depth != depth:
                continue
            artifact_key = outputs_key(teacher, run)
            users.setdefault(artifact_key, []).append(run)
            if artifact_key not in artifacts:
                task = teacher.data.task.name
                artifacts[artifact_key] = Artifact(
                    artifact_key,
                    f"outputs of teacher {teacher.name} on {task}",
                    (teacher_key(teacher),),
                    OutputsToCache(teacher, run.tokenizer_ref, ()),
                    self.estimate.outputs(run, index),
                )
        for artifact_key, artifact in artifacts.items():
            work = artifact.work
            assert isinstance(work, OutputsToCache)
            complete = replace(artifact, work=replace(work, users=tuple(users[artifact_key])))
            yield self._job("teacher outputs", [complete], 0, work.teacher.data.task.name)

    def _tuning(self, studies: Sequence[tuning_studies.Study]) -> Iterator[Job]:
        groups: dict[CohortId, list[tuning_studies.Study]] = {}
        for study in studies:
            groups.setdefault(study.trial(0, study.defaults).cohort, []).append(study)
        for group in groups.values():
            artifacts = [
                Artifact(
                    study.key,
                    f"tuning of {study.job.planned.label} on {study.job.planned.student}, {study.job.planned.task}",
                    self._needs(study.job),
                    study,
                    self.estimate.study(study),
                )
                for study in group
            ]
            memory = peak([self.plan.load(study.job) for study in group])
            yield self._job("tuning", artifacts, min(memory, self.plan.room), group[0].job.planned.task)

    def cohort(self, runs: Sequence[RunJob]) -> Job:
        """The job that trains `runs` as a cohort."""
        artifacts = []
        for run in runs:
            study = tuning_studies.of(run, self.plan.spec)
            needs = (*self._needs(run), *((study.key,) if study else ()))
            planned = run.planned
            title = f"{planned.label} on {planned.student}, {planned.task}, seed {planned.seed}"
            artifacts.append(Artifact(planned.key, title, needs, run, self.estimate.run(run)))
        memory = peak([self.plan.load(run) for run in runs])
        job = self._job("cohort", artifacts, memory, runs[0].planned.task)
        return replace(job, seconds=self.estimate.cohort(tuple(runs)))

    def _latency_and_report(self, jobs: Sequence[Job]) -> Iterator[Job]:
        built = tuple(artifact.key for job in jobs for artifact in job.artifacts)
        latency = self.plan.spec.latency
        if latency is not None:
            artifact = Artifact("latency", "latency of students and teachers", built, None, latency.max_seconds)
            job = self._job("latency", [artifact], 0)
            yield replace(job, resources=replace(job.resources, exclusive=True))
        needs = (*built, *(("latency",) if latency is not None else ()))
        yield self._job("report", [Artifact("report", "report", needs, None)], 0)

    def _fine_tuned_models(self, run: RunJob) -> list[TeacherJob]:
        """The fine-tuned models whose weights a run reads: its teachers, and the model that its student copies."""
        spec = self.plan.spec.students[run.cell.student]
        return [*run.teachers, *([run.source] if run.source and run.copies_fine_tuned(spec) else [])]

    def _needs(self, run: RunJob) -> tuple[str, ...]:
        """Keys of the artifacts that a run is built from, without its tuning."""
        needs = [teacher_key(model) for model in self._fine_tuned_models(run)]
        needs += [run.general.key] if run.general else []
        needs += [run.augmented.key] if run.augmented else []
        needs += [outputs_key(teacher, run) for _, _, teacher in _cached_teachers([run])]
        return tuple(dict.fromkeys(needs))

    def _job(self, kind: JobKind, artifacts: Sequence[Artifact], memory: int, task: str = "") -> Job:
        resources = Resources(self.plan.device, self.threads, memory)
        seconds = START_SECONDS + sum(artifact.seconds for artifact in artifacts)
        return Job(kind, tuple(artifacts), resources, seconds, task)


def _cached_teachers(runs: Iterable[RunJob]) -> Iterator[tuple[RunJob, int, TeacherJob]]:
    """Yield each run with the index of each teacher whose outputs it reads from the cache, and the teacher."""
    for run in runs:
        if run.reads_cache:
            for index, teacher in enumerate(run.teachers):
                if run.needs(index):
                    yield run, index, teacher
