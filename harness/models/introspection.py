"""Finds a model's layers, attention and head by observing one tiny forward pass.

Layers are identified by module, not by index: DistilBERT's have none, and ALBERT's layers share one.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.models import attention, families

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@dataclass(frozen=True)
class ModelParts:
    """The parts of a model.

    Attributes:
        layers: the encoder's layers in the order in which they run; a shared layer (ALBERT) occurs once for each time
            it runs. Empty if the encoder ignores transformers' attention interface.
        head: the last linear layer outside the encoder; None for a bare encoder.
        inputs: names of the inputs that the model takes.
        by_token: whether the model computes logits for each token.
        scalings: the factor of Q K^T in each layer.
    """

    layers: tuple[nn.Module, ...]
    head: nn.Linear | None
    inputs: frozenset[str]
    by_token: bool
    scalings: tuple[float, ...]


def find_parts(model: PreTrainedModel) -> ModelParts:
    """Find the parts of `model` by one forward pass over four tokens. The model is not changed."""
    encoder = set(model.base_model.modules()) if model.base_model is not model else set(model.modules())
    attention_modules: list[nn.Module] = []
    scalings: list[float] = []
    heads: list[nn.Linear] = []

    def on_attention(module: nn.Module, inputs: attention.AttentionInputs) -> None:
        attention_modules.append(module)
        scalings.append(inputs.scaling)

    def on_linear(module: nn.Module, _: Any) -> None:
        if isinstance(module, nn.Linear):
            heads.append(module)

    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.Linear) and module not in encoder:
                stack.callback(module.register_forward_pre_hook(on_linear).remove)
        stack.enter_context(_evaluating(model))
        stack.enter_context(torch.no_grad())
        stack.enter_context(attention.observe_attention(attention.configs_of(model), on_attention))
        tokens = torch.zeros(1, 4, dtype=torch.long, device=model.device)
        logits = getattr(model(input_ids=tokens, attention_mask=torch.ones_like(tokens)), "logits", None)
    owners = _list_elements(model)
    layers = [owners.get(module) for module in attention_modules]
    return ModelParts(
        layers=tuple(layer for layer in layers if layer is not None) if None not in layers else (),
        head=heads[-1] if heads else None,
        inputs=_input_names(model),
        by_token=logits is not None and logits.ndim == 3,
        scalings=tuple(scalings),
    )


def is_opaque(config: PretrainedConfig) -> bool:
    """Whether no intermediate outputs can be captured from encoders of this configuration.

    Tried out on a model of one layer on the meta device; False if that model cannot be built or run.
    """
    from transformers import AutoModel

    try:
        shape = families.shape(config, config.model_type)
        one = families.resized(config, layers=1, hidden=shape.hidden, heads=shape.heads, ffn=shape.ffn)
        with torch.device("meta"):
            return not find_parts(AutoModel.from_config(one)).layers
    except Exception:  # an unknown family may raise anything here; then its run fails with the message
        return False


def _list_elements(model: nn.Module) -> dict[nn.Module, nn.Module]:
    """For each module inside a ModuleList, the element of the innermost list that holds it."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]  # outer ones come first
    return {inner: element for modules in lists for element in modules for inner in element.modules()}


def _input_names(model: PreTrainedModel) -> frozenset[str]:
    names = set(inspect.signature(model.forward).parameters)
    if getattr(model.config, "type_vocab_size", 2) < 2:
        names.discard("token_type_ids")  # RoBERTa has one segment: an index of 1 is out of range
    return frozenset(names)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Switch to eval mode; on exit restore the mode of each module, as a part of the model may be frozen."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
