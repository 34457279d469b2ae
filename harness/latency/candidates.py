"""The models to measure: those of a suite, or checkpoints named by the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from harness.api.errors import UserError
from harness.api.metric import MetricFactory
from harness.execution import teacher_runs
from harness.latency.agreement import EvaluationData
from harness.models import available_heads, heads, own_head, pretrained
from harness.planning import Plan, TeacherJob
from harness.planning.jobs import RunJob
from harness.storage.store import Store

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Metrics = Mapping[str, MetricFactory]
"""Name -> metric factory, as registered by plugins."""


@dataclass(frozen=True)
class Candidate:
    """A model to measure.

    Attributes:
        identity: everything that its latency depends on; part of the key. The size of a suite's model also contains the
            FLOPs at the suite's `max_length`, so with another one it is measured again: without them, the measurements
            of older versions would not be found.
        load: returns a new copy of the model on the CPU, in eval mode.
        of: for the control, the name of the model that it copies.
        examples: validation examples of its task, if it is trained.
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
    """Models to compare.

    Attributes:
        models: the reference first.
        task: the task whose head the models have; None for checkpoints, which have their own heads.
        left_out: student -> why it cannot be measured.
        validation: the examples of the task; None for checkpoints.
    """

    models: Sequence[Candidate]
    task: str | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    validation: EvaluationData | None = None

    def with_control(self) -> list[Candidate]:
        """The models and the A/A control: a second copy of the first student.

        Without students it copies the second model, or the reference if there is no other model.
        """
        reference, *others = self.models
        original = next((model for model in others if model.role == "student"), [*others, reference][0])
        name = f"{original.name} (second copy)"
        control = replace(original, name=name, role="control", of=original.name, examples=None)
        return [*self.models, control]


def of_suite(plan: Plan, store: Store, metrics: Metrics) -> Candidates | None:
    """The teachers of a suite, and one completed run of each student.

    One run is enough, because latency depends on the shape of a model and not on its weights. All models have the head
    of one task: the one on which most students are trained.

    Returns:
        None if no student is trained.
    """
    done = {task.name: _trained(plan, store, task.name) for task in plan.resolved.suite.tasks}
    task = max(done, key=lambda name: len(done[name]))  # ties take the first task
    if not done[task]:
        return None
    by_row: dict[str, TeacherJob] = {}
    for job in plan.teachers:
        if job.data.task.name == task:
            by_row.setdefault(job.row, job)  # all seeds have the same shape
    suite_teachers = [_teacher(by_row[name], plan, store, metrics) for name in plan.spec.teachers if name in by_row]
    students = [_student(job, plan, store, metrics) for job in done[task].values()]
    left_out = {name: f"it has no completed run on {task}" for name in plan.spec.students if name not in done[task]}
    validation = next(iter(students)).examples
    return Candidates([*suite_teachers, *students], task, left_out, validation)


def of_checkpoints(names: Sequence[str], *, trust_remote_code: bool) -> Candidates:
    """Checkpoints given by folder or hub id, with the head named in config.json, or as bare encoders.

    Raises:
        UserError: a name is repeated, or a checkpoint cannot be found.
    """
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UserError(f"duplicate checkpoint {repeated[0]!r}; name it once (a second copy is always measured)")
    return Candidates([_checkpoint(name, trust_remote_code) for name in names])


def _trained(plan: Plan, store: Store, task: str) -> dict[str, RunJob]:
    """student -> its first completed run on the task with an exported model, in the suite's order."""
    jobs: dict[str, RunJob] = {}
    for student in plan.spec.students:
        for job in plan.runs:
            run = job.planned
            if (run.task, run.student) == (task, student) and _has_model(store, run.key):
                jobs[student] = job
                break
    return jobs


def _has_model(store: Store, key: str) -> bool:
    record = store.record(key)
    return record is not None and record.status == "completed" and (store.run_folder(key) / "student").is_dir()


def _student(job: RunJob, plan: Plan, store: Store, metrics: Metrics) -> Candidate:
    run, task = job.planned, job.data.task
    record = store.record(run.key)
    assert record is not None  # checked by `_trained`
    folder = store.run_folder(run.key) / "student"
    return Candidate(
        name=run.student,
        role="student",
        source=f"run `{run.key}` ({run.task}, {run.label}, seed {run.seed})",
        identity=record.model_size.model_dump(),
        load=lambda: heads.load(folder, task, seed=0, trust_remote_code=plan.spec.trust_remote_code),
        examples=EvaluationData(job.data, job.tokenizer_ref, plan.spec.training.on(task.name).max_length, metrics),
    )


def _teacher(job: TeacherJob, plan: Plan, store: Store, metrics: Metrics) -> Candidate:
    """A teacher with its fine-tuned weights if they are cached, else with its initial weights: latency is the same."""
    record = store.teacher(job.key, job.data.validation_fingerprint)
    if record is None:
        raise UserError(f"latency: teacher {job.name} is not trained on {job.data.task.name}; run `harness run` first")

    def load() -> PreTrainedModel:
        trust = plan.spec.trust_remote_code
        if teacher_runs.cached(job).is_kept():
            return teacher_runs.load(job, trust_remote_code=trust)
        return teacher_runs.untrained(job, trust_remote_code=trust).eval()

    source = f"teacher `{job.key}` ({job.data.task.name})"
    cached = teacher_runs.cached(job).is_kept()
    examples = EvaluationData(job.data, job.tokenizer_ref, job.training.max_length, metrics) if cached else None
    return Candidate(job.row, "teacher", source, record.size.model_dump(), load, examples=examples)


def _checkpoint(name: str, trust_remote_code: bool) -> Candidate:
    folder = pretrained.locate(name, trust_remote_code=trust_remote_code)
    config = pretrained.config_in(folder, trust_remote_code=trust_remote_code)
    kind = "qa" if (config.architectures or [""])[0].endswith("ForQuestionAnswering") else ""
    if reason := available_heads.FAILING.get((config.model_type, kind)):
        raise UserError(f"{name}: its head {reason}, and latency is measured on random tokens; measure another model")
    return Candidate(
        name=name,
        role="model",
        source=f"checkpoint `{pretrained.fingerprint(folder)}`",
        identity={"checkpoint": pretrained.fingerprint(folder)},
        load=lambda: own_head.load(folder, trust_remote_code=trust_remote_code),
    )
