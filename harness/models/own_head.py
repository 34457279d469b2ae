"""Loads a checkpoint with the head that its config.json names, whatever task it is for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.errors import UserError
from harness.models import pretrained
from harness.models.quiet_transformers import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """The model in `folder` with its own head, or as a bare encoder: float32, on the CPU, in eval mode.

    Raises:
        UserError: transformers cannot load it.
    """
    import torch
    import transformers

    config = pretrained.config_in(folder, trust_remote_code=trust_remote_code)
    name = (config.architectures or [""])[0]
    auto = next((kind for suffix, kind in _heads(transformers) if name.endswith(suffix)), transformers.AutoModel)
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
    yield "ForTokenClassification", transformers.AutoModelForTokenClassification
