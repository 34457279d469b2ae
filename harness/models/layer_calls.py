"""Calls of single layers of an encoder, and functions in place of layers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from harness.models import attention
from harness.models.introspection import first_tensor
from harness.models.pass_changes import repadded

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class LayerCall:
    """The call of a layer in a forward pass. It can be repeated with other hidden states of the same shape."""

    configs: Sequence[PretrainedConfig]
    layer: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __call__(self, states: Tensor) -> Tensor:
        """The layer's output [B, N, H] for the hidden states `states`."""
        original = self.args[0] if self.args else self.kwargs["hidden_states"]
        padded = repadded(states, original)
        args, kwargs = with_layer_states(self.args, self.kwargs, padded)
        # The forward function of the class: hooks and replacements are of another pass that may be running.
        with attention.observe_attention(self.configs, unobserved):
            output = first_tensor(type(self.layer).forward(self.layer, *args, **kwargs))
        return output.narrow(1, 0, states.shape[1])


def unobserved(module: nn.Module, inputs: attention.AttentionInputs) -> None:
    """Observes attention and records nothing."""


@contextmanager
def forwards_replaced(
    layers: Collection[nn.Module], instead: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]
) -> Iterator[None]:
    """Call `instead` with the layer and its arguments in place of the forward function of each of `layers`."""

    def replacement(layer: nn.Module) -> Callable[..., Any]:
        return lambda *args, **kwargs: instead(layer, args, kwargs)

    before = {layer: layer.__dict__.get("forward") for layer in layers}
    try:
        for layer in before:
            layer.forward = replacement(layer)
        yield
    finally:
        for layer, forward in before.items():
            if forward is None:
                del layer.forward
            else:
                layer.forward = forward


def with_layer_states(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], states: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a layer with other hidden states."""
    return ((states, *args[1:]), dict(kwargs)) if args else ((), {**kwargs, "hidden_states": states})
