"""One attention function for every encoder that transformers ships with its attention interface.

It is the fused kernel, which first shows a module's queries, keys and values to whoever watches. The model carries it
only inside `tapped`, so that between two forward passes nothing of it is left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

NAME = "harness"


@dataclass(frozen=True)
class Attended:
    """What one attention module is about to attend with: [B, A, N, d], and the scaling of its scores."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    scaling: float

    def scores(self) -> Tensor:
        """[B, A, N, N], before mask and softmax."""
        return torch.matmul(self.queries, self.keys.transpose(-1, -2)) * self.scaling


Watcher = Callable[[nn.Module, Attended], Callable[[Tensor], None] | None]
"""Called before a module attends; what it returns is called with the context, [B, N, A, d]."""

_watcher: ContextVar[Watcher | None] = ContextVar("harness_attention_watcher", default=None)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    watcher = _watcher.get()
    then = None
    if watcher is not None:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        then = watcher(module, Attended(query, key, value, scale))
    context, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    if then is not None:
        then(context)
    return context, None


SEEN_AT_ONCE = frozenset({"cpu"})
"""Devices on which it costs nothing to look at a tensor."""


def _mask(*args: Any, device: torch.device | str = "cpu", **options: Any) -> Tensor | None:
    """The mask of the fused kernel; none where nothing is padded. Elsewhere than on a CPU there always is one: to see
    that it can be spared would wait for the device in every forward pass."""
    if torch.device(device).type not in SEEN_AT_ONCE:
        options["allow_is_bidirectional_skip"] = False
    mask: Tensor | None = sdpa_mask(*args, device=device, **options)
    return mask


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _mask)  # without a mask function of that name padding is dropped in silence


@contextmanager
def tapped(configs: Sequence[PretrainedConfig], watcher: Watcher) -> Iterator[None]:
    """Let `watcher` see every attention module reading `configs` that runs inside; then they are as they were."""
    before = [config._attn_implementation for config in configs]
    token = _watcher.set(watcher)
    try:
        for config in configs:
            config._attn_implementation = NAME
        yield
    finally:
        for config, implementation in zip(configs, before, strict=True):
            config._attn_implementation = implementation
        _watcher.reset(token)


def configs_of(model: PreTrainedModel) -> tuple[PretrainedConfig, ...]:
    """Each configuration that a part of the model reads its attention function from, once."""
    found = {id(part.config): part.config for part in model.modules() if hasattr(part, "config")}
    return tuple(found.values())
