"""Where a model keeps its layers, its attention and its head: found by watching one tiny forward pass.

Module identity is all that is relied on. Layer indices are not: DistilBERT has none, and ALBERT's layers share one.
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
class Anatomy:
    """The parts of a model.

    Attributes:
        layers: the encoder's layers in the order they run; a shared layer (ALBERT) stands in it once for each time
            it runs. Empty where the encoder ignores transformers' attention interface.
        head: the last linear layer outside the encoder; None for a bare encoder.
        inputs: names of the model inputs that the model takes.
        scalings: of each layer's scores.
    """

    layers: tuple[nn.Module, ...]
    head: nn.Linear | None
    inputs: frozenset[str]
    scalings: tuple[float, ...]


def dissect(model: PreTrainedModel) -> Anatomy:
    """Find the parts of `model` by one forward pass over four tokens; it is left as it was."""
    encoder = set(model.base_model.modules()) if model.base_model is not model else set(model.modules())
    callers: list[nn.Module] = []
    scalings: list[float] = []
    heads: list[nn.Linear] = []

    def watch(module: nn.Module, tensors: attention.Attended) -> None:
        callers.append(module)
        scalings.append(tensors.scaling)

    def saw_linear(module: nn.Module, _: Any) -> None:
        if isinstance(module, nn.Linear):
            heads.append(module)

    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.Linear) and module not in encoder:
                stack.callback(module.register_forward_pre_hook(saw_linear).remove)
        stack.enter_context(_evaluating(model))
        stack.enter_context(torch.no_grad())
        stack.enter_context(attention.tapped(attention.configs_of(model), watch))
        tokens = torch.zeros(1, 4, dtype=torch.long, device=model.device)
        model(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    owners = _list_elements(model)
    layers = [owners.get(caller) for caller in callers]
    return Anatomy(
        layers=tuple(layer for layer in layers if layer is not None) if None not in layers else (),
        head=heads[-1] if heads else None,
        inputs=_accepted(model),
        scalings=tuple(scalings),
    )


def is_opaque(config: PretrainedConfig) -> bool:
    """Whether encoders of that configuration show nothing of their inside: told by one layer without weights. False
    where that cannot be told."""
    from transformers import AutoModel

    try:
        numbers = families.shape(config, config.model_type)
        one = families.resized(config, layers=1, hidden=numbers.hidden, heads=numbers.heads, ffn=numbers.ffn)
        with torch.device("meta"):
            return not dissect(AutoModel.from_config(one)).layers
    except Exception:  # whatever a model does that has never been seen; the run that it fails will tell
        return False


def _list_elements(model: nn.Module) -> dict[nn.Module, nn.Module]:
    """For each module inside a ModuleList, the element of the innermost list that holds it."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]  # outer ones come first
    return {inner: element for each in lists for element in each for inner in element.modules()}


def _accepted(model: PreTrainedModel) -> frozenset[str]:
    names = set(inspect.signature(model.forward).parameters)
    if getattr(model.config, "type_vocab_size", 2) < 2:
        names.discard("token_type_ids")  # RoBERTa knows one segment, and an index of 1 would be out of its table
    return frozenset(names)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode, and then each module's own mode again: someone may have frozen a part of the model."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
