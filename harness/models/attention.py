"""An attention function for transformers' attention interface that reports queries, keys and values to an observer.

It computes attention with the fused kernel. Models use it inside `observe_attention` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

NAME = "harness"


@dataclass(frozen=True)
class AttentionInputs:
    """Inputs of one attention module: queries, keys and values, [B, A, N, d], and the scaling of the scores."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    scaling: float

    def scores(self) -> Tensor:
        """Attention scores before mask and softmax, [B, A, N, N]."""
        return torch.matmul(self.queries, self.keys.transpose(-1, -2)) * self.scaling


Observer = Callable[[nn.Module, AttentionInputs], Callable[[Tensor], None] | None]
"""Called with a module's inputs before attention. May return a function to call with the context, [B, N, A, d]."""

_observer: ContextVar[Observer | None] = ContextVar("harness_attention_observer", default=None)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    observer = _observer.get()
    on_context = None
    if observer is not None:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        on_context = observer(module, AttentionInputs(query, *_for_each_head(query, key, value), scale))
    size, added = query.shape[-1], _padding(query)
    if added:
        scaling = size**-0.5 if scaling is None else scaling
        query, key, value = (F.pad(heads, (0, added)) for heads in (query, key, value))
    context, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    context = context[..., :size]
    if on_context is not None:
        on_context(context)
    return context, None


ALIGNED_DEVICES = frozenset({"cuda"})
"""Devices whose fused kernel that takes a mask reads 16 bytes of a head at once."""


def _padding(heads: Tensor) -> int:
    """The zeros that the fused kernel needs at the end of each head, of 26 numbers in TinyBERT with 312 dimensions.

    Without them, torch computes attention in steps and keeps maps of N x N for the backward pass.
    """
    if heads.device.type not in ALIGNED_DEVICES:
        return 0
    return -heads.shape[-1] % (16 // heads.element_size())


def _for_each_head(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of each head of the queries: in grouped-query attention (EuroBERT) several heads share them."""
    groups = query.shape[1] // key.shape[1]
    if groups == 1:
        return key, value
    return key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)


SYNCHRONOUS_DEVICES = frozenset({"cpu"})
"""Devices on which reading a tensor's values needs no synchronization."""


def _mask(*args: Any, device: torch.device | str = "cpu", **options: Any) -> Tensor | None:
    """The mask of the fused kernel; None on a CPU if nothing is padded.

    On other devices that check would wait for the device in every forward pass, so there is always a mask.
    """
    from transformers.masking_utils import sdpa_mask

    if torch.device(device).type not in SYNCHRONOUS_DEVICES:
        options["allow_is_bidirectional_skip"] = False
    mask: Tensor | None = sdpa_mask(*args, device=device, **options)
    return mask


@cache
def _register() -> None:
    """Make the attention function known to transformers, whose import takes seconds."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, _mask)  # without a mask function, transformers ignores padding silently


@contextmanager
def observe_attention(configs: Sequence[PretrainedConfig], observer: Observer) -> Iterator[None]:
    """Call `observer` for every attention module with one of `configs` that runs in the block; restore them on exit.

    The fused kernel is not that of cuDNN, which torch prefers on Hopper and Blackwell in half precision: for each new
    shape of a batch, cuDNN builds a plan, which takes longer than a training step, and batches have many shapes.
    """
    _register()
    before = [config._attn_implementation for config in configs]
    token = _observer.set(observer)
    cudnn = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        for config in configs:
            config._attn_implementation = NAME
        yield
    finally:
        for config, implementation in zip(configs, before, strict=True):
            config._attn_implementation = implementation
        _observer.reset(token)
        torch.backends.cuda.enable_cudnn_sdp(cudnn)


def configs_of(model: PreTrainedModel) -> tuple[PretrainedConfig, ...]:
    """All distinct configurations of the model's modules, which name their attention function."""
    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    return tuple(configs.values())
