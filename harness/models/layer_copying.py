"""Copies an encoder's embeddings, pooler and some of its layers into a shallower one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.api.errors import UserError
from harness.models.introspection import dissect

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def copy_encoder(source: PreTrainedModel, student: PreTrainedModel, chosen: Sequence[int]) -> None:
    """Make the student's encoder the source's: layer i from layer ``chosen[i]``, counted from 1, and all beside them.

    The task's heads are not touched. Where the source has no pooler, the student keeps its own. Raises `UserError` for
    an encoder whose layers cannot be found.
    """
    theirs, ours = dissect(source).layers, dissect(student).layers
    if not theirs or not ours:
        raise UserError(
            f"layers cannot be copied from a {type(source).__name__}: it ignores transformers' attention interface, by"
            " which they are found; start from init: random or a checkpoint"
        )
    inside = {id(parameter) for layer in ours for parameter in layer.parameters()}
    weights = source.base_model.state_dict()
    outside = {
        name: weights[name]
        for name, parameter in student.base_model.named_parameters()
        if id(parameter) not in inside and name in weights
    }
    student.base_model.load_state_dict(outside, strict=False)
    for layer, index in zip(ours, chosen, strict=True):
        layer.load_state_dict(theirs[index - 1].state_dict())


def copy_head(source: PreTrainedModel, student: PreTrainedModel) -> None:
    """Give the student what the source has beside its encoder: the head that predicts tokens, of equal width."""
    encoder, weights = f"{student.base_model_prefix}.", source.state_dict()
    own = {name: tensor for name, tensor in student.state_dict().items() if not name.startswith(encoder)}
    fitting = {name: weights[name] for name in own if name in weights and weights[name].shape == own[name].shape}
    student.load_state_dict(fitting, strict=False)
