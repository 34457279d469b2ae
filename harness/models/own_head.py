"""Loads a checkpoint with the head that its config.json names, whatever task it is for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.errors import UserError, first_line
from harness.models import pretrained
from harness.models.quiet_transformers import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """The model in `folder` with its own head, or as a bare encoder: float32, on the CPU, in eval mode.

    Tensors that the folder lacks are random, which suffices to measure speed.

    Raises:
        UserError: transformers cannot load it, or a tensor does not have the size that config.json says.
    """
    return _load(folder, trust_remote_code)[0]


def load_trained(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """Like `load`, for predictions: all of its tensors must come from the folder.

    Raises:
        UserError: as `load`; or the folder lacks tensors, or has encoder tensors that the model does not use.
    """
    from harness.models import checkpoint_inspection

    model, info = _load(folder, trust_remote_code)
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"{folder}: it holds no trained {type(model).__name__}: {len(missing)} of its tensors are missing, the"
            f" first {missing[0]!r}; save the fine-tuned model with its head again"
        )
    if extra := checkpoint_inspection.unexpected_tensors(info["unexpected_keys"], model):
        raise UserError(f"{folder}: {checkpoint_inspection.unexpected_message(extra, model.config)}")
    return model


def _load(folder: Path, trust_remote_code: bool) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model, and transformers' loading info."""
    import torch
    import transformers
    from safetensors import SafetensorError

    config = pretrained.config_in(folder, trust_remote_code=trust_remote_code)
    name = (config.architectures or [""])[0]
    auto = next((kind for suffix, kind in _heads(transformers) if name.endswith(suffix)), transformers.AutoModel)
    try:
        with quiet_transformers():
            model, info = auto.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                ignore_mismatched_sizes=True,  # reported below, with their names
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = first_line(error)
        raise UserError(
            f"{folder}: cannot load a model from this folder: {reason}; download or save it again"
        ) from error
    if different := sorted(info["mismatched_keys"]):
        tensor, stored, expected = different[0]
        raise UserError(
            f"{folder}: the weights do not fit {pretrained.CONFIG}: {tensor} is {list(stored)} in the file and"
            f" {list(expected)} by {pretrained.CONFIG}; save the model again with its configuration"
        )
    return model.eval(), info


def _heads(transformers: Any) -> Iterator[tuple[str, Any]]:
    yield "ForSequenceClassification", transformers.AutoModelForSequenceClassification
    yield "ForQuestionAnswering", transformers.AutoModelForQuestionAnswering
    yield "ForTokenClassification", transformers.AutoModelForTokenClassification
