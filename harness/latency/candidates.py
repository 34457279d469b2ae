"""What is measured: the models of a suite, or checkpoints that a user names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.api.errors import UserError
from harness.execution import teacher_runs
from harness.latency.agreement import EvaluationData
from harness.models import heads, pretrained
from harness.models.quiet_transformers import quiet_transformers
from harness.planning import Plan, TeacherJob
from harness.planning.jobs import RunJob
from harness.storage.store import Store

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Metrics = Mapping[str, Callable[[], Any]]
"""Metric factories by name, as plugins register them."""


@dataclass(frozen=True)
class Candidate:
    """A model to be measured. `load` gives a new copy of it, on the CPU; `identity` is what its latency depends on.

    `examples` are those of its task, if it is trained on it.
    """

    name: str
    role: Literal["teacher", "student", "model", "control"]
    source: str
    identity: Mapping[str, Any]
    load: Callable[[], PreTrainedModel]
    of: str | None = None
    examples: EvaluationData | None = None


@dataclass(frozen=True)
class Candidates:
    """Models that are compared, the reference first. `task` says whose head they have; None: each its own.

    `left_out` says of each student that cannot be measured why. `validation` are the task's examples.
    """

    models: Sequence[Candidate]
    task: str | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    validation: EvaluationData | None = None

    def with_control(self) -> list[Candidate]:
        """The models, and a second copy of the first student; without one, of the first that is not the reference, or
        of the reference if it is alone."""
        reference, *others = self.models
        original = next((each for each in others if each.role == "student"), [*others, reference][0])
        name = f"{original.name} (second copy)"
        control = replace(original, name=name, role="control", of=original.name, examples=None)
        return [*self.models, control]


def of_suite(plan: Plan, store: Store, metrics: Metrics) -> Candidates | None:
    """Its teachers, and of each student one completed run: latency depends on a model's shape, not on its weights.

    All have the head of one task, that for which most students are trained. None: no student is trained.
    """
    done = {task.name: _trained(plan, store, task.name) for task in plan.resolved.suite.tasks}
    task = max(done, key=lambda name: len(done[name]))  # the first of those that have the most
    if not done[task]:
        return None
    by_row: dict[str, TeacherJob] = {}
    for job in plan.teachers:
        if job.data.task.name == task:
            by_row.setdefault(job.row, job)  # of several seeds the first: their shapes are the same
    suite_teachers = [_teacher(by_row[name], plan, store, metrics) for name in plan.spec.teachers if name in by_row]
    students = [_student(job, plan, store, metrics) for job in done[task].values()]
    left_out = {name: f"no run of it on {task} is completed" for name in plan.spec.students if name not in done[task]}
    read = next(iter(students)).examples
    return Candidates([*suite_teachers, *students], task, left_out, read)


def of_checkpoints(names: Sequence[str], *, trust_remote_code: bool) -> Candidates:
    """Folders and hub ids as they are: with the head that their config.json names, or as bare encoders."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UserError(f"{repeated[0]!r} stands twice; a second copy of a model is measured in any case")
    return Candidates([_checkpoint(name, trust_remote_code) for name in names])


def _trained(plan: Plan, store: Store, task: str) -> dict[str, RunJob]:
    """student -> its first run on the task that is completed and whose student was kept, in the suite's order."""
    found: dict[str, RunJob] = {}
    for student in plan.spec.students:
        for job in plan.runs:
            run = job.planned
            if (run.task, run.student) == (task, student) and _is_kept(store, run.key):
                found[student] = job
                break
    return found


def _is_kept(store: Store, key: str) -> bool:
    record = store.record(key)
    return record is not None and record.status == "completed" and (store.run_folder(key) / "student").is_dir()


def _student(job: RunJob, plan: Plan, store: Store, metrics: Metrics) -> Candidate:
    run, task = job.planned, job.data.task
    record = store.record(run.key)
    assert record is not None  # `_trained` has seen it
    folder = store.run_folder(run.key) / "student"
    return Candidate(
        name=run.student,
        role="student",
        source=f"run `{run.key}` ({run.task}, {run.label}, seed {run.seed})",
        identity=record.size.model_dump(),
        load=lambda: heads.load(folder, task, seed=0, trust_remote_code=plan.spec.trust_remote_code),
        examples=EvaluationData(job.data, job.reader, plan.spec.training.on(task.name).max_length, metrics),
    )


def _teacher(job: TeacherJob, plan: Plan, store: Store, metrics: Metrics) -> Candidate:
    """With its fine-tuned weights if the cache still has them; else with those it began with, which take as long."""
    record = store.teacher(job.key)
    if record is None:
        raise UserError(f"latency: teacher {job.name} is not trained on {job.data.task.name}; `harness run` trains it")

    def load() -> PreTrainedModel:
        if teacher_runs.is_kept(job):
            return teacher_runs.load(job)
        return teacher_runs.untrained(job, trust_remote_code=plan.spec.trust_remote_code).eval()

    source = f"teacher `{job.key}` ({job.data.task.name})"
    kept = teacher_runs.is_kept(job)
    examples = EvaluationData(job.data, job.reader, job.training.max_length, metrics) if kept else None
    return Candidate(job.row, "teacher", source, record.size.model_dump(), load, examples=examples)


def _checkpoint(name: str, trust_remote_code: bool) -> Candidate:
    folder = pretrained.locate(name, trust_remote_code=trust_remote_code)
    return Candidate(
        name=name,
        role="model",
        source=f"checkpoint `{pretrained.fingerprint(folder)}`",
        identity={"checkpoint": pretrained.fingerprint(folder)},
        load=lambda: _with_own_head(folder, trust_remote_code),
    )


def _with_own_head(folder: Path, trust_remote_code: bool) -> PreTrainedModel:
    import torch
    import transformers

    config = pretrained.config_in(folder, trust_remote_code=trust_remote_code)
    named = (config.architectures or [""])[0]
    auto = next((kind for suffix, kind in _heads(transformers) if named.endswith(suffix)), transformers.AutoModel)
    try:
        with quiet_transformers():
            model: PreTrainedModel = auto.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
            )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: cannot load a model from this folder: {error}") from error
    return model.eval()


def _heads(transformers: Any) -> Iterator[tuple[str, Any]]:
    yield "ForSequenceClassification", transformers.AutoModelForSequenceClassification
    yield "ForQuestionAnswering", transformers.AutoModelForQuestionAnswering
