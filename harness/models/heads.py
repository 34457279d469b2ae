"""Builds encoders with a task's head, from a checkpoint folder or with random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from harness.api.batch import TaskKind
from harness.api.errors import UserError
from harness.models import families
from harness.models.class_order import class_names, class_order
from harness.models.initialization import seeded
from harness.models.output_scale import logits_of_a_few_tokens, output_layer, standardize
from harness.models.pretrained import config_in
from harness.models.quiet_transformers import quiet_transformers
from harness.storage import cache_dir
from harness.storage.disk_errors import explained

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from harness.api.task import Task

PROBLEM_TYPES = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}

AUTO_CLASSES: Mapping[TaskKind, str] = {
    "token_classification": "AutoModelForTokenClassification",
    "qa": "AutoModelForQuestionAnswering",
    "text": "AutoModelForMaskedLM",
}
"""Kind of task -> transformers' class of models with its head; others: AutoModelForSequenceClassification."""


def kind_of_sequence_head(config: PretrainedConfig) -> Literal["classification", "multilabel", "regression"]:
    """The kind of task of a model ...ForSequenceClassification. Without `problem_type`, one output is a regression."""
    if config.problem_type == PROBLEM_TYPES["multilabel"]:
        return "multilabel"
    return "regression" if config.num_labels == 1 else "classification"


def load(path: Path, task: Task, *, seed: int, trust_remote_code: bool = False) -> PreTrainedModel:
    """Load the encoder in `path` with a head for `task`: float32, on the CPU, in eval mode.

    A head in the folder is used if its shape fits the task; its rows are put in the task's order of classes, and its
    output is standardized if the task's labels are. Otherwise the head is initialized under `seed`. The global random
    state is not changed.

    Raises:
        UserError: the weights cannot be read, or do not fit config.json; or the output cannot be standardized.
        DiskError: the disk cannot be read.
    """
    config = config_in(path, trust_remote_code=trust_remote_code)
    model, info = _from_folder(path, config, task, seed, trust_remote_code)
    _reorder_classes(model, config, task)
    model.eval()
    if task.label_scale is not None:
        head = output_layer(model, task.name)
        if not _new_tensors(info).intersection(_names_in(model, head)):
            standardize(head, task.label_scale)
    return model


def load_finetuned(path: Path, task: Task, order: Sequence[int], *, trust_remote_code: bool = False) -> PreTrainedModel:
    """Load a fine-tuned model with its own head: float32, on the CPU, in eval mode.

    Args:
        path: the folder of the checkpoint.
        task: the task that it was fine-tuned on.
        order: for each class of the task, its position among the outputs of the checkpoint; empty without classes. The
            outputs of the loaded model are in the task's order.
        trust_remote_code: whether to run the checkpoint's own code.

    Raises:
        UserError: the weights cannot be read, do not fit config.json, or lack tensors; or the classes cannot be
            reordered.
        DiskError: the disk cannot be read.
    """
    config = config_in(path, trust_remote_code=trust_remote_code)
    model, info = _from_folder(path, config, task, 0, trust_remote_code)
    if new := sorted(_new_tensors(info)):
        raise UserError(
            f"{path}: this is not a fine-tuned {type(model).__name__}: {len(new)} of its tensors are missing or have"
            f" another size, the first {new[0]!r}; remove `finetune: false`, so that the teacher is fine-tuned"
        )
    model.eval()
    if list(order) != sorted(order):
        _permute_outputs(model, order, path)
    return model


def _from_folder(
    path: Path, config: PretrainedConfig, task: Task, seed: int, trust_remote_code: bool
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Load the encoder in `path` with a head for `task`, initialized under `seed` if it is not in the folder.

    Returns the model and transformers' loading info.
    """
    from safetensors import SafetensorError

    try:
        with explained(path, can_be_missing=not cache_dir.contains(path)), quiet_transformers(), seeded(seed):
            model, info = auto_class(task.kind).from_pretrained(
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
    _check_weights(path, model, info)
    return model, info


def from_config(config: PretrainedConfig, task: Task, *, seed: int, trust_remote_code: bool = False) -> PreTrainedModel:
    """A randomly initialized encoder with a head for `task`: float32, on the CPU, in eval mode.

    The weights depend on `seed` only; the global random state is not changed.

    Raises:
        UserError: the task's labels are standardized, and the output of this model cannot be.
    """
    with quiet_transformers(), seeded(seed):
        model: PreTrainedModel = (
            auto_class(task.kind)
            .from_config(_for_task(config, task), dtype=torch.float32, trust_remote_code=trust_remote_code)
            .eval()
        )
    if task.label_scale is not None:
        output_layer(model, task.name)  # before the training, since it is needed afterwards
    return model


def auto_class(kind: TaskKind) -> Any:
    """Transformers' auto class of the models with a head for this kind of task."""
    import transformers

    return getattr(transformers, AUTO_CLASSES.get(kind, "AutoModelForSequenceClassification"))


def _for_task(config: PretrainedConfig, task: Task) -> PretrainedConfig:
    """A copy of `config` with the task's labels."""
    fields = config.to_dict()
    for key in ("id2label", "label2id", "num_labels", "problem_type", "finetuning_task"):
        fields.pop(key, None)
    if config.model_type in families.FULL_ATTENTION:
        fields["attention_type"] = families.FULL_ATTENTION[config.model_type]
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


def _reorder_classes(model: PreTrainedModel, config: PretrainedConfig, task: Task) -> None:
    """Reorder the head's rows if the checkpoint has the task's classes in another order, as is common for MNLI."""
    from harness.models.introspection import find_parts

    order = class_order(class_names(config), task.labels) if task.labels else None
    if order is None or list(order) == sorted(order):
        return
    head = find_parts(model).head
    if head is not None:
        _permute_rows(head, order)


def _permute_rows(head: nn.Linear, order: Sequence[int]) -> None:
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(parameter[list(order)])


def _permute_outputs(model: PreTrainedModel, order: Sequence[int], path: Path) -> None:
    """Reorder the rows of the model's last linear layer, and check that its logits are reordered.

    Raises:
        UserError: the logits are not the outputs of a linear layer of this size, so that they cannot be reordered.
    """
    from harness.models.introspection import find_parts

    head, before = find_parts(model).head, logits_of_a_few_tokens(model)
    if head is not None and head.out_features == len(order):
        _permute_rows(head, order)
        if torch.allclose(logits_of_a_few_tokens(model), before[..., list(order)], rtol=1e-4, atol=1e-5):
            return
    raise UserError(
        f"{path}: its classes are in another order than those of the task, and its head does not end with a linear"
        " layer whose rows can be reordered; save the model with the classes in the task's order"
    )


def _new_tensors(info: dict[str, Any]) -> set[str]:
    """The names of the tensors that are not from the folder. `info` is transformers' loading info."""
    return {*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])}


def _names_in(model: PreTrainedModel, part: nn.Module) -> set[str]:
    """The names in `model` of the parameters of `part`."""
    parameters = set(map(id, part.parameters()))
    return {name for name, parameter in model.named_parameters() if id(parameter) in parameters}


def _check_weights(path: Path, model: PreTrainedModel, info: dict[str, Any]) -> None:
    """Raise `UserError` unless all encoder weights come from the folder and all of its encoder weights are used.

    The head and the pooler may be new. `info` is transformers' loading info.
    """
    from harness.models import checkpoint_inspection

    if extra := checkpoint_inspection.unexpected_tensors(info["unexpected_keys"], model):
        raise UserError(f"{path}: {checkpoint_inspection.unexpected_message(extra, model.config)}")
    encoder = f"{model.base_model_prefix}."
    new = sorted(name for name in _new_tensors(info) if name.startswith(encoder) and ".pooler." not in name)
    if new:
        raise UserError(
            f"{path}: the weights do not fit config.json: {len(new)} of the encoder's tensors are missing or have"
            f" another size, the first {new[0]!r}"
        )
