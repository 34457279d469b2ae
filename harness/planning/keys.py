"""Build the parts of keys: everything that determines a result, and nothing else.

Files count by their contents, not by their names or paths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from harness.api.method import Augmentation, General, Method, MethodConfig
from harness.api.model_outputs import ModelShape
from harness.config.schema import SuiteSpec
from harness.config.selection_schema import SelectionSpec
from harness.config.student_schema import StudentSpec
from harness.config.teacher_schema import TeacherSpec
from harness.config.text_stage_schema import GeneralSpec
from harness.config.training_schema import TrainingSpec
from harness.models.families import scratch_positions
from harness.planning.job_inputs import TaskData, TokenizerRef
from harness.planning.jobs import TeacherJob
from harness.resolution.request_options import options_of
from harness.resolution.suite import MethodVariant
from harness.tasks.corpus import TextCorpus
from harness.training import (
    ALIGNMENT_VERSION,
    ANSWER_ALIGNMENT_VERSION,
    MULTILABEL_WEIGHTS_VERSION,
    TEACHER_OUTPUTS_VERSION,
    TEXT_STAGE_MODULES_VERSION,
    VERSION,
)


def numeric(device: str, precision: str, *, tf32: bool = False) -> dict[str, Any]:
    """Return the settings that decide the last bits of a result.

    The number of threads counts only on a CPU, where it orders sums; TF32 counts only on CUDA.
    """
    kind = torch.device(device).type
    threads = {"threads": torch.get_num_threads()} if kind == "cpu" else {}
    products = {"tf32": True} if kind == "cuda" and tf32 else {}
    return {"device": kind, "precision": precision, "teacher_tensors": "fresh", **threads, **products}


def training(settings: TrainingSpec) -> dict[str, Any]:
    """Return the training settings, without those that other settings disable."""
    fields = settings.key_fields()
    micro_batch_size, token_budget = settings.micro_batch_size, settings.token_budget
    if micro_batch_size is None or (token_budget is None and micro_batch_size >= settings.batch_size):
        del fields["micro_batch_size"]
    del fields["token_budget" if token_budget is None else "batch_size"]
    if settings.execution == "sequential":
        del fields["execution"]
    return fields


def micro_batches(settings: TrainingSpec, sizes: Iterable[int]) -> dict[str, Any]:
    """Return `micro_batch_size` if it splits batches of one of `sizes`, but not those of `settings`."""
    micro_batch_size = settings.micro_batch_size
    if (
        micro_batch_size is None
        or "micro_batch_size" in training(settings)
        or micro_batch_size >= max(sizes, default=0)
    ):
        return {}
    return {"micro_batch_size": micro_batch_size}


def data(task: TaskData, tokenizer_ref: TokenizerRef, max_length: int) -> dict[str, Any]:
    """Return the parts for a tokenized training set: the examples in order, and how they are tokenized."""
    # A multilabel task, or one with tags, may have classes that no example has, but the head has an output for them.
    labelled = {"labels": list(task.task.labels)} if task.task.kind in ("multilabel", "token_classification") else {}
    # The weights of a declared task are in its declaration.
    weights = None if task.task.key_parts else task.task.class_weights
    weighted: dict[str, Any] = (
        {} if weights is None else {"class_weights": weights if weights == "balanced" else list(weights)}
    )
    if task.task.class_weights is not None and task.task.kind == "multilabel":
        weighted["class_weights_version"] = MULTILABEL_WEIGHTS_VERSION
    return {
        "task": task.task.name,
        "train": task.train_fingerprint,
        "tokenizer": tokenizer_ref.fingerprint,
        "max_length": max_length,
        **({"declaration": dict(task.task.key_parts)} if task.task.key_parts else {}),
        **_definition(task),
        **labelled,
        **weighted,
    }


_USUAL_DEFINITION = {
    "kind": "classification",
    "classes": 2,
    "metrics": ["accuracy"],
    "score": "accuracy",
    "paired": False,
    "label_range": None,
    "standardize": False,
    "unanswerable": False,
}


def _definition(task: TaskData) -> dict[str, Any]:
    """Return the part for what a plugin can change in its task while the examples stay the same.

    Values of `_USUAL_DEFINITION` are left out. The definitions of shipped tasks change with `VERSION` only, and a
    declaration has its own part.
    """
    if not task.is_of_plugin or {"metrics", "score"} <= task.task.key_parts.keys():
        return {}
    low_and_high = task.task.label_range
    definition = {
        "kind": task.task.kind,
        "classes": task.task.num_labels,
        "metrics": list(task.task.metrics),
        "score": task.task.score,
        "paired": task.task.paired,
        "label_range": None if low_and_high is None else list(low_and_high),
        "standardize": task.task.standardize,
        "unanswerable": task.task.unanswerable,
    }
    unusual = {name: value for name, value in definition.items() if value != _USUAL_DEFINITION[name]}
    return {"definition": unusual} if unusual else {}


def teacher(
    spec: TeacherSpec,
    checkpoint: str | None,
    task: TaskData,
    tokenizer_ref: TokenizerRef,
    settings: TrainingSpec,
    device: str,
) -> dict[str, Any]:
    """Return the parts for a fine-tuned teacher. They omit the validation data, on which its weights do not depend."""
    return {
        "model": {"checkpoint": checkpoint} if spec.architecture is None else spec.architecture.model_dump(),
        "data": data(task, tokenizer_ref, settings.max_length),
        **spec.key_fields(),
        "training": training(settings),
        "numeric": numeric(device, settings.precision, tf32=settings.tf32),
        "code": VERSION,
    }


def finetuned_teacher(
    checkpoint: str, order: Sequence[int], task: TaskData, tokenizer_ref: TokenizerRef, max_length: int, device: str
) -> dict[str, Any]:
    """Return the parts for a fine-tuned checkpoint that is used as it is: they determine its outputs and its score.

    `order` is the position of each class of the task among the checkpoint's outputs. The scale of standardized labels
    is that of the outputs that students learn.
    """
    scale = task.task.label_scale
    return {
        "model": {"checkpoint": checkpoint},
        "finetune": False,
        "classes": list(order),
        "data": {
            "task": task.task.name,
            "tokenizer": tokenizer_ref.fingerprint,
            "max_length": max_length,
            **({"label_scale": [scale.mean, scale.deviation]} if scale else {}),
            **_definition(task),
        },
        "numeric": numeric(device, "fp32"),
        "code": VERSION,
    }


def group(
    members: Sequence[TeacherJob], method: type[Method], options: Mapping[str, Any], settings: TrainingSpec
) -> dict[str, Any]:
    """Return the parts for a group of teachers: the initial model of each in order, and the shared settings."""
    first = members[0].parts
    return {
        "members": [{"model": member.parts["model"], **member.spec.key_fields()} for member in members],
        "method": {"name": method.name, "version": method.version, "options": dict(options)},
        "training": training(settings),
        "data": {**first["data"], "max_length": settings.max_length},
        "numeric": first["numeric"],
        "code": first["code"],
        **alignment(members[0].tokenizer_ref, [member.tokenizer_ref for member in members]),
    }


def alignment(
    tokenizer_ref: TokenizerRef, teachers: Sequence[TokenizerRef], *, answers: bool = False
) -> dict[str, Any]:
    """Return the parts for the alignment of teachers whose tokenizer is not `tokenizer_ref`; empty if there are none.

    `answers`: whether a student of question answering reads them.
    """
    encodings = [teacher.encoding_id(tokenizer_ref.fingerprint) for teacher in teachers]
    foreign = any(encoding != tokenizer_ref.fingerprint for encoding in encodings)
    version = ANSWER_ALIGNMENT_VERSION if answers else ALIGNMENT_VERSION
    return {"alignment": {"version": version, "read": encodings}} if foreign else {}


def selection(task: TaskData, spec: SelectionSpec) -> dict[str, Any]:
    """Return the parts for a run that ends with its best epoch: the examples that decide. Other runs have none."""
    return {**spec.key_fields(), "examples": task.selection_fingerprint, **better(task)}


def better(task: TaskData) -> dict[str, Any]:
    """Return the direction of the task's score; empty if higher is better."""
    return {} if task.task.higher_is_better else {"better": "less"}


def with_cached_outputs(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a run, changed to those of the same run with cached teacher outputs."""
    return {
        **parts,
        "numeric": {**parts["numeric"], "teacher_tensors": "kept"},
        "kept": {"version": TEACHER_OUTPUTS_VERSION},
    }


def augmentation(
    request: Augmentation, method: Method, model: str | None, files: Sequence[Path], task: TaskData, device: str
) -> dict[str, Any]:
    """Return the parts for augmented training data. `model` is the fingerprint of the masked language model, if any."""
    return {
        "method": {"name": method.name, "version": method.version, "options": options_of(request, method.config)},
        "model": model,
        "files": [_file_digest(path) for path in files],
        "data": {"task": task.task.name, "train": task.train_fingerprint},
        "numeric": numeric(device, "fp32"),
        "code": VERSION,
    }


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def student(
    spec: StudentSpec,
    shape: ModelShape,
    *,
    checkpoint: str | None,
    source: TeacherJob | None,
    pretrained: str | None,
    general: str | None = None,
) -> dict[str, Any]:
    """Return the parts for a student's initial weights: its shape and their source.

    Args:
        checkpoint: fingerprint of the checkpoint that the student itself starts from.
        source: the teacher whose family it has, and whose layers are copied if `init` says so.
        pretrained: fingerprint of that teacher's pretrained checkpoint; None if it has none.
        general: key of the text stage whose student it starts from.
    """
    sizes = {"layers": shape.layers, "hidden": shape.hidden, "heads": shape.heads, "ffn": shape.ffn}
    numbers = {**sizes, **spec.key_fields()}
    if general is not None:
        return {**numbers, "init": "general", "source": general}
    if checkpoint is not None:
        return {**numbers, "init": "checkpoint", "source": checkpoint}
    origin: str | dict[str, Any] | None = pretrained
    if source is not None and source.is_copied_fine_tuned(spec):
        origin = source.key
    elif source is not None and pretrained is None:
        origin = _inherited_config(source)
    return {**numbers, "family": shape.model_type, "init": spec.init, "source": origin}


def _inherited_config(teacher: TeacherJob) -> dict[str, Any]:
    """Return the configuration that a randomly initialized student inherits from a teacher without a checkpoint: all
    but the sizes that the student sets itself."""
    architecture = teacher.spec.architecture
    assert architecture is not None  # set for every teacher without a checkpoint
    return {
        "dropout": architecture.dropout,
        "width of initial weights": architecture.hidden,
        "positions": scratch_positions(teacher.training.max_length),
    }


def general(
    job: General,
    method: Method,
    *,
    student: Mapping[str, Any],
    teacher: str | None,
    text: TextCorpus,
    tokenizer_ref: TokenizerRef,
    spec: GeneralSpec,
    settings: TrainingSpec,
    device: str,
) -> dict[str, Any]:
    """Return the parts for a text stage.

    Args:
        student: the parts of its initial weights.
        teacher: the fingerprint of the pretrained model, or the key of the assistant.
        spec: the suite's section `general`.
        settings: the training settings of the text stage.
    """
    return {
        "method": {"name": method.name, "version": method.version, "options": _text_stage_options(job, method)},
        **({"modules": TEXT_STAGE_MODULES_VERSION} if _has_modules(method) else {}),
        "masking": job.masking,
        **({"smoothing": job.smoothing} if job.smoothing else {}),
        "student": dict(student),
        "teacher": teacher,
        "data": {"text": text.fingerprint, "tokenizer": tokenizer_ref.fingerprint, "max_length": spec.max_length},
        **spec.key_fields(),
        "training": {**training(settings), "epochs": None, "steps": spec.steps},
        "numeric": numeric(device, settings.precision, tf32=settings.tf32),
        "code": VERSION,
    }


def _has_modules(method: Method) -> bool:
    """Whether the method may have modules, which runs continue from its text stage."""
    return type(method).modules is not Method.modules


def _text_stage_options(job: General, method: Method) -> dict[str, Any]:
    """Return the options of the text stage, and the settings of its `Stage`, which may depend on other options.

    Settings with the default value are left out; the suite decides the length.
    """
    options = options_of(job, method.config)
    for setting in fields(job.stage):
        value = getattr(job.stage, setting.name)
        if setting.name not in {"name", "needs", "share", "epochs", "steps"} and value != setting.default:
            name = f"stage.{setting.name}" if setting.name in options else setting.name
            options[name] = sorted(value) if isinstance(value, frozenset) else value
    return options


def on_task(suite: SuiteSpec, settings: TrainingSpec, device: str) -> dict[str, Any]:
    """Return the parts that all runs of a task have in common. `settings` are those of the task."""
    return {
        **suite.key_fields(),
        "training": training(settings),
        "numeric": numeric(device, settings.precision, tf32=settings.tf32),
        "code": VERSION,
    }


def method(variant: MethodVariant, suite: SuiteSpec, settings: TrainingSpec) -> dict[str, Any]:
    """Return the parts for a row's method, its options and stages. `settings` are those of the task."""
    return {
        **suite.methods[int(variant.path[1])].key_fields(),
        "name": variant.method.name,
        "version": variant.method.version,
        "config": method_options(variant.config),
        "stages": {
            name: {**stage.key_fields(), **micro_batches(settings, filter(None, [stage.batch_size]))}
            for name, stage in sorted(variant.stages.items())
        },
    }


def method_options(config: MethodConfig) -> dict[str, Any]:
    """Return the options of a method that are part of a run's key, as JSON values."""
    dumped = config.model_dump(mode="json", exclude=set(config.keyed_separately))
    defaults = type(config)().model_dump(mode="json", include=set(config.added_later))
    return {name: value for name, value in dumped.items() if name not in defaults or value != defaults[name]}


def run(
    shared: Mapping[str, Any],
    method: Mapping[str, Any],
    lineage: Mapping[str, Any],
    data: Mapping[str, Any],
    *,
    seed: int,
    data_seed: int,
) -> dict[str, Any]:
    """Return the parts for a student's training and score.

    Args:
        shared: the parts of `on_task`.
        method: the parts of `method`.
        lineage: the parts of its `Lineage`.
        data: the parts of the tokenized training set and the fingerprint of the validation data.
    """
    return {"method": method, **lineage, "data": data, "seed": seed, "data_seed": data_seed, **shared}
