"""Encoders with a task's head: from a folder, or from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.api.errors import UserError
from harness.models.initialization import seeded
from harness.models.pretrained import config_in
from harness.models.quiet_transformers import quiet_transformers

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from harness.api.task import Task

PROBLEM_TYPES = {"classification": "single_label_classification", "regression": "regression"}


def load(path: Path, task: Task, *, seed: int, trust_remote_code: bool = False) -> PreTrainedModel:
    """The encoder in `path` with a head for `task`, float32, on the CPU, in eval mode.

    A head that the folder holds is taken if it fits the task, its classes in the task's order; else it is made under
    `seed`, without disturbing the global random state. Raises `UserError` where the folder's weights are not those of
    its config.json.
    """
    from safetensors import SafetensorError

    config = config_in(path, trust_remote_code=trust_remote_code)
    try:
        with quiet_transformers(), seeded(seed):
            model, info = _auto_class(task).from_pretrained(
                path,
                config=_for_task(config, task),
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(f"{path}: cannot load a {task.kind} model from this folder: {error}") from error
    _refuse_foreign_weights(path, model, info)
    _put_in_order(model, config, task)
    return model.eval()


def from_config(config: PretrainedConfig, task: Task, *, seed: int, trust_remote_code: bool = False) -> PreTrainedModel:
    """A random encoder with a head for `task`, under `seed` alone: float32, on the CPU, in eval mode."""
    with quiet_transformers(), seeded(seed):
        return (
            _auto_class(task)
            .from_config(_for_task(config, task), dtype=torch.float32, trust_remote_code=trust_remote_code)
            .eval()
        )


def _auto_class(task: Task) -> Any:
    from transformers import AutoModelForMaskedLM, AutoModelForQuestionAnswering, AutoModelForSequenceClassification

    special = {"qa": AutoModelForQuestionAnswering, "text": AutoModelForMaskedLM}
    return special.get(task.kind, AutoModelForSequenceClassification)


def _for_task(config: PretrainedConfig, task: Task) -> PretrainedConfig:
    """A copy of `config` that speaks of the task's labels."""
    fields = config.to_dict()
    for key in ("id2label", "label2id", "num_labels", "problem_type", "finetuning_task"):
        fields.pop(key, None)
    config = type(config).from_dict(fields)
    if task.kind == "text":
        return config
    config.num_labels = task.num_labels
    if task.kind in PROBLEM_TYPES:
        config.problem_type = PROBLEM_TYPES[task.kind]
    if task.labels:
        config.id2label = dict(enumerate(task.labels))
        config.label2id = {label: i for i, label in enumerate(task.labels)}
    return config


def _put_in_order(model: PreTrainedModel, config: PretrainedConfig, task: Task) -> None:
    """The rows of a head whose checkpoint names the task's classes in another order, as those of MNLI often do."""
    from harness.models.introspection import dissect

    names = [str(config.id2label[i]).lower() for i in sorted(config.id2label)]
    if names == list(task.labels) or sorted(names) != sorted(task.labels):
        return
    head = dissect(model).head
    if head is not None:
        order = [names.index(label) for label in task.labels]
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.copy_(parameter[order])


def _refuse_foreign_weights(path: Path, model: PreTrainedModel, info: dict[str, Any]) -> None:
    """A head may be fresh, and a pooler that pretraining did not train; any other weight must come from the folder, and
    all of the folder's must be used, but for other heads and what is known to be harmless."""
    from harness.models import checkpoint_inspection

    if extra := checkpoint_inspection.unexpected(info["unexpected_keys"], model):
        raise UserError(f"{path}: {checkpoint_inspection.unexpected_message(extra, model.config)}")
    encoder = f"{model.base_model_prefix}."
    names = [*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])]
    fresh = sorted(name for name in names if name.startswith(encoder) and ".pooler." not in name)
    if fresh:
        raise UserError(
            f"{path}: the weights do not fit config.json: {len(fresh)} of the encoder's tensors are missing or have"
            f" another size, the first {fresh[0]!r}"
        )
