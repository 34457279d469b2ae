"""Copies an encoder's embeddings, pooler and some of its layers to a shallower encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.api.errors import UserError
from harness.models.introspection import find_parts

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def copy_encoder(source: PreTrainedModel, student: PreTrainedModel, chosen: Sequence[int]) -> None:
    """Copy the source's encoder to the student's: layer i from layer ``chosen[i]``, counted from 1, and all the rest.

    Heads are not changed. If the source has no pooler, the student keeps its own.

    Raises:
        UserError: the layers of an encoder cannot be found.
    """
    source_layers, student_layers = find_parts(source).layers, find_parts(student).layers
    if not source_layers or not student_layers:
        raise UserError(
            f"layers cannot be copied from a {type(source).__name__}: it has no sequence of layers with outputs of one"
            " shape; start from init: random or a checkpoint"
        )
    inside = {id(parameter) for layer in student_layers for parameter in layer.parameters()}
    weights = source.base_model.state_dict()
    outside = {
        name: weights[name]
        for name, parameter in student.base_model.named_parameters()
        if id(parameter) not in inside and name in weights
    }
    student.base_model.load_state_dict(outside, strict=False)
    for layer, index in zip(student_layers, chosen, strict=True):
        _copy_layer(source_layers[index - 1], layer)


def _copy_layer(source: nn.Module, layer: nn.Module) -> None:
    """Copy all weights that both layers have.

    In ModernBERT, whose embeddings end with a norm, the first layer begins without one. A copy in the first place loses
    the norm; a copy of the first layer keeps the initial norm of its place.
    """
    weights, own = source.state_dict(), layer.state_dict()
    layer.load_state_dict({name: weights[name] for name in own if name in weights}, strict=False)


def copy_head(source: PreTrainedModel, student: PreTrainedModel) -> None:
    """Copy the source's weights outside the encoder, the language-modeling head, where shapes are equal."""
    encoder, weights = f"{student.base_model_prefix}.", source.state_dict()
    head = {name: tensor for name, tensor in student.state_dict().items() if not name.startswith(encoder)}
    fitting = {name: weights[name] for name in head if name in weights and weights[name].shape == head[name].shape}
    student.load_state_dict(fitting, strict=False)
