"""Checks the head of a fine-tuned checkpoint against a task, and matches its classes with those of the task.

Nothing is loaded: the head is described by config.json and by the headers of the weight files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from harness.api.errors import Problem, UserError, first_line
from harness.models import checkpoint_inspection, heads, pretrained
from harness.models.class_order import class_names, class_order

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from harness.api.task import Task

REMEDY = "remove `finetune: false`, so that the teacher is fine-tuned with a new head, or give another checkpoint"

LISTED = 6
"""Number of classes that a message names."""

_HEAD = re.compile(r"For[A-Z]\w*$")
_PRETRAINING = re.compile(r"For(MaskedLM|PreTraining|CausalLM|NextSentencePrediction)$")
_BUFFERS = re.compile(r"(^|\.)(position_ids|token_type_ids)$")


@dataclass(frozen=True)
class FinetunedHead:
    """The head of a checkpoint that is used as it is.

    Attributes:
        order: for each class of the task, its position among the outputs of the checkpoint; empty without classes.
        summary: where the head and the order of its classes come from, for plan and board.
    """

    order: tuple[int, ...]
    summary: str


def find(
    folder: Path, task: Task, stated: Sequence[str] | None, teacher: str, *, trust_remote_code: bool = False
) -> FinetunedHead:
    """Check the head of the checkpoint in `folder` and match its classes with those of `task`.

    Args:
        folder: the checkpoint.
        task: the task that the checkpoint was fine-tuned on.
        stated: names of the task's classes in the order of the checkpoint's outputs; None: config.json names them.
        teacher: its name in the suite.
        trust_remote_code: whether to run the checkpoint's own code.

    Raises:
        UserError: the checkpoint has no head for this kind of task, or its classes are not those of the task. The
            problem is at the teacher's `model` or `labels`.
    """
    config = pretrained.config_in(folder, trust_remote_code=trust_remote_code)
    model, labels = f"teachers.{teacher}.model", f"teachers.{teacher}.labels"
    where = folder / pretrained.CONFIG
    if problem := _head_problem(folder, config, task, trust_remote_code):
        raise UserError(Problem(f"{where}: {problem}; {REMEDY}", model))
    if not task.labels:
        if stated is not None:
            raise UserError(Problem(f"{task.name} is a {task.kind} task, which has no classes; remove it", labels))
        return FinetunedHead((), "used with its own head, not fine-tuned")
    names = class_names(config)
    order = class_order(names if stated is None else stated, task.labels)
    if order is None and stated is not None:
        raise UserError(
            Problem(
                f"expected each class of {task.name} once ({', '.join(task.labels)}), in the order of the checkpoint's"
                f" outputs; found {', '.join(stated)}",
                labels,
            )
        )
    if order is None:
        raise UserError(
            Problem(
                f"{where} names the classes {', '.join(_at_most(names))}, and those of {task.name} are"
                f" {', '.join(_at_most(task.labels))}: their order is not known; state the names of the task's classes"
                f" in the order of the checkpoint's outputs, such as `{labels}: [{', '.join(task.labels)}]`",
                model,
            )
        )
    return FinetunedHead(order, _summary(order, names, task, stated is not None))


def if_fine_tuned(folder: Path, task: Task, *, trust_remote_code: bool = False) -> str:
    """What becomes of the head in `folder` if the checkpoint is fine-tuned on `task`; empty if it has none.

    The head of another task is replaced by a new one; a head that fits is fine-tuned further.
    """
    config = pretrained.config_in(folder, trust_remote_code=trust_remote_code)
    found = next((name for name in config.architectures or () if _is_task_head(name)), None)
    if found is None:
        return ""
    problem = _head_problem(folder, config, task, trust_remote_code)
    if problem is None:
        return "the checkpoint's own head is fine-tuned further"
    return f"the checkpoint's head is replaced by a new one: {problem}"


def _is_task_head(architecture: str) -> bool:
    return bool(_HEAD.search(architecture)) and not _PRETRAINING.search(architecture)


def _summary(order: Sequence[int], names: Sequence[str], task: Task, stated: bool) -> str:
    source = "stated in the suite" if stated else f"named {', '.join(names)} in its config.json"
    if list(order) == sorted(order):
        return f"used with its own head, not fine-tuned; its classes are {source}"
    found = ", ".join(label for _, label in sorted(zip(order, task.labels, strict=True)))
    of_task = ", ".join(task.labels)
    return f"used with its own head, not fine-tuned; its classes, {source}, are reordered from {found} to {of_task}"


def _head_problem(folder: Path, config: PretrainedConfig, task: Task, trust_remote_code: bool) -> str | None:
    """Why the checkpoint's head does not suit the task; None if it does, as far as this is known without loading it."""
    try:
        model = _meta_model(config, task, trust_remote_code)
    except Exception as error:  # the family has no such head, or the checkpoint's own code fails
        reason = first_line(error)
        return f"no {task.kind} model can be built for model type {config.model_type}: {reason}"
    own = [name for name in config.architectures or () if _HEAD.search(name)]
    wanted = _HEAD.search(type(model).__name__) if model is not None else None
    if own and wanted and not any(name.endswith(wanted.group()) for name in own):
        return f"the model is a {own[0]}, and {task.name} is a {task.kind} task, which needs a {type(model).__name__}"
    if model is not None and (absent := _absent(checkpoint_inspection.stored_shapes(folder), model)):
        of = f" of {type(model).__name__}"
        return f"there is no fine-tuned head for {task.name}: the weights lack {_first(absent)}{of}{_encoder(config)}"
    expected = heads.PROBLEM_TYPES.get(task.kind)
    if config.num_labels != task.num_labels:
        return f"the head has {_outputs(config)}, and {_wanted(task)}"
    if expected and config.problem_type not in (None, expected):
        return f"problem_type is {config.problem_type!r}, and {task.name} is a {task.kind} task ({expected!r})"
    return None


def _meta_model(config: PretrainedConfig, task: Task, trust_remote_code: bool) -> PreTrainedModel | None:
    """The model of the configuration with a head for the task, on the meta device; None if its code rejects that."""
    try:
        with torch.device("meta"):
            model: PreTrainedModel = heads.auto_class(task.kind).from_config(
                config, trust_remote_code=trust_remote_code
            )
        return model
    except NotImplementedError:  # then loading it reports problems
        return None


def _absent(stored: Iterable[str], model: PreTrainedModel) -> list[str]:
    """Tensors of the head that the weight files lack. The pooler is part of the head."""
    names = set(stored)
    expected = [
        name
        for name in model.state_dict()
        if ".pooler." in name or not checkpoint_inspection.is_encoder_tensor(name, model)
    ]
    prefix = f"{model.base_model_prefix}."
    return [name for name in expected if not _BUFFERS.search(name) and not {name, name.removeprefix(prefix)} & names]


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _encoder(config: PretrainedConfig) -> str:
    return f" (config.json: {', '.join(config.architectures)})" if config.architectures else ""


def _outputs(config: PretrainedConfig) -> str:
    if config.num_labels == 1:
        return "1 output, like that of a regression model"
    return f"{config.num_labels} classes ({', '.join(_at_most(class_names(config)))})"


def _wanted(task: Task) -> str:
    if task.labels:
        return f"{task.name} has {task.num_labels} classes ({', '.join(_at_most(task.labels))})"
    return f"{task.name} is a {task.kind} task, which needs {task.num_labels} output{'s' * (task.num_labels > 1)}"


def _at_most(names: Sequence[str]) -> list[str]:
    return [*names[:LISTED], *(["..."] if len(names) > LISTED else [])]
