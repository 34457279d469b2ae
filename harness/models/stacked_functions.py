"""Torch functions that compute several models of one architecture in one forward pass.

The examples of all models are rows of one batch, [R * B, ...]: those of the first model, then those of the second, and
so on. Parameters are stacked, [R, ...]. A function with parameters applies those of each model to its own rows; all
other functions treat rows alike, so they need no change. Dropout of each model's rows comes from its own generator.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from harness.models.stacked_rows import joined_rows, separated_rows, split_rows

SEPARATE_DEVICES = frozenset({"cpu"})
"""Devices on which functions with parameters are called once for each model. The bits are then those of a forward pass
of that model alone. Elsewhere, where a call costs more than the computation of a small model, one call computes all."""


class NotStackable(TypeError):
    """A model cannot be computed together with others of its architecture."""


def stacked_functions(
    parameters: Iterable[Tensor], generators: Sequence[torch.Generator], rows: int
) -> StackedFunctions:
    """The functions for a forward pass over `rows` examples of all models together; use it as a context manager.

    Args:
        parameters: all stacked parameters, [R, ...].
        generators: one for each model, on the device of the parameters.
    """
    separate = generators[0].device.type in SEPARATE_DEVICES
    return (SeparateFunctions if separate else BatchedFunctions)(parameters, generators, rows)


class StackedFunctions(TorchFunctionMode):
    """Base class. `functions` maps a torch function to what takes its place."""

    functions: Mapping[Callable[..., Any], Callable[..., Tensor]]

    def __init__(self, parameters: Iterable[Tensor], generators: Sequence[torch.Generator], rows: int) -> None:
        super().__init__()
        self.parameters = {id(parameter): parameter for parameter in parameters}
        self.generators, self.rows = generators, rows
        self.count = len(generators)
        self.functions = {
            F.linear: self.linear,
            F.embedding: self.embedding,
            F.layer_norm: self.layer_norm,
            F.dropout: self.dropout,
            F.scaled_dot_product_attention: self.attention,
        }

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self.functions.get(func, func)(*args, **(kwargs or {}))  # type: ignore[no-untyped-call]

    @abstractmethod
    def linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """As `F.linear`."""

    @abstractmethod
    def embedding(
        self, input: Tensor, weight: Tensor, padding_idx: int | None = None, *args: Any, **options: Any
    ) -> Tensor:
        """As `F.embedding`."""

    @abstractmethod
    def layer_norm(
        self,
        input: Tensor,
        normalized_shape: list[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        """As `F.layer_norm`."""

    def dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """As `F.dropout`, with the random numbers that each model draws alone on a CPU."""
        if not training or p == 0:
            return input
        noise = torch.empty_like(input)
        for part, generator in zip(split_rows(self.checked(noise), self.count), self.generators, strict=True):
            part.bernoulli_(1 - p, generator=generator)
        return input * noise.div_(1 - p)

    def attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        **options: Any,
    ) -> Tensor:
        """As `F.scaled_dot_product_attention`. With dropout it is computed from maps of N x N, in float32.

        The fused kernels draw from one generator for all rows.
        """
        if dropout_p == 0:
            return F.scaled_dot_product_attention(query, key, value, attn_mask, **options)
        if options.get("is_causal") or options.get("enable_gqa"):
            raise NotStackable("attention with dropout is computed for encoders with one key for each query only")
        scale = math.sqrt(options.get("scale") or query.shape[-1] ** -0.5)
        with torch.autocast(query.device.type, enabled=False):
            scores = torch.matmul(query.float() * scale, key.float().transpose(-1, -2) * scale)
            if attn_mask is not None:
                hidden = attn_mask.dtype == torch.bool
                scores = scores.masked_fill(~attn_mask, -torch.inf) if hidden else scores + attn_mask
            weights = self.dropout(scores.softmax(-1), dropout_p)
            return torch.matmul(weights, value.float()).to(query.dtype)

    def checked(self, tensor: Tensor) -> Tensor:
        """The tensor. Raises `NotStackable` if it does not hold the rows of all models."""
        if tensor.ndim == 0 or len(tensor) != self.rows:
            raise NotStackable(
                f"a tensor of shape {tuple(tensor.shape)} does not hold the {self.rows} rows of all models"
            )
        return tensor


class SeparateFunctions(StackedFunctions):
    """Calls a function once for each model, on its rows and with its parameters."""

    def __init__(self, parameters: Iterable[Tensor], generators: Sequence[torch.Generator], rows: int) -> None:
        super().__init__(parameters, generators, rows)
        self._unbound: dict[int, tuple[Tensor, ...]] = {}
        # Vectorized kernels round the last elements of a tensor, which do not fill a vector, differently.
        for function in (F.gelu, F.silu, torch.tanh, torch.sigmoid):
            self.functions = {**self.functions, function: self._elementwise(function)}

    def linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return self._each(F.linear, input, weight, bias)

    def embedding(
        self, input: Tensor, weight: Tensor, padding_idx: int | None = None, *args: Any, **options: Any
    ) -> Tensor:
        return self._each(lambda ids, matrix: F.embedding(ids, matrix, padding_idx, *args, **options), input, weight)

    def layer_norm(
        self,
        input: Tensor,
        normalized_shape: list[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        if weight is None:
            return F.layer_norm(input, normalized_shape, None, bias, eps)

        def normalized(rows: Tensor, scale: Tensor, shift: Tensor | None) -> Tensor:
            return F.layer_norm(rows, normalized_shape, scale, shift, eps)

        return self._each(normalized, input, weight, bias)

    def attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        **options: Any,
    ) -> Tensor:
        contexts = []
        parts = zip(*map(self._of_each, (query, key, value, attn_mask)), strict=True)
        for part, generator in zip(parts, self.generators, strict=True):
            with _as_global(generator):
                contexts.append(F.scaled_dot_product_attention(*part, dropout_p=dropout_p, **options))  # type: ignore[misc]
        return joined_rows(contexts)

    def _each(self, function: Callable[..., Tensor], input: Tensor, *parameters: Tensor | None) -> Tensor:
        """The results of `function` for all models: on their rows, or on one row that all their rows share."""
        if all(id(parameter) not in self.parameters for parameter in parameters):
            return function(input, *parameters)
        results = [function(*part) for part in zip(*map(self._of_each, (input, *parameters)), strict=True)]
        if len(input) == self.rows:
            return joined_rows(results)
        each = self.rows // self.count
        return joined_rows([result.expand(each, *result.shape[1:]) for result in results])

    def _of_each(self, tensor: Tensor | None) -> Sequence[Tensor | None]:
        """The part of `tensor` that belongs to each model."""
        if tensor is None:
            return [None] * self.count
        if id(tensor) in self.parameters:
            if id(tensor) not in self._unbound:
                self._unbound[id(tensor)] = tensor.unbind(0)
            return self._unbound[id(tensor)]
        return [tensor] * self.count if len(tensor) == 1 else separated_rows(self.checked(tensor), self.count)

    def _elementwise(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def called(input: Tensor, *args: Any, **options: Any) -> Tensor:
            return joined_rows(
                [function(part, *args, **options) for part in separated_rows(self.checked(input), self.count)]
            )

        return called


class BatchedFunctions(StackedFunctions):
    """Computes all models in one call: linear layers as one batched matrix product."""

    def linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if id(weight) not in self.parameters:
            return F.linear(input, weight, bias)
        rows = self._rows(input)
        columns = weight.transpose(1, 2)
        product = torch.bmm(rows, columns) if bias is None else torch.baddbmm(bias[:, None], rows, columns)
        return product.view(*input.shape[:-1], weight.shape[1])

    def embedding(
        self, input: Tensor, weight: Tensor, padding_idx: int | None = None, *args: Any, **options: Any
    ) -> Tensor:
        if id(weight) not in self.parameters:
            return F.embedding(input, weight, padding_idx, *args, **options)
        ids = input.expand(self.rows, *input.shape[1:])
        return _StackedEmbedding.apply(weight, ids, padding_idx)  # type: ignore[no-any-return,no-untyped-call]

    def layer_norm(
        self,
        input: Tensor,
        normalized_shape: list[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        if weight is None or id(weight) not in self.parameters:
            return F.layer_norm(input, normalized_shape, weight, bias, eps)
        normalized = F.layer_norm(input, normalized_shape, None, None, eps)
        rows = self._rows(normalized).to(weight.dtype)
        scaled = rows * weight[:, None] if bias is None else torch.addcmul(bias[:, None], rows, weight[:, None])
        return scaled.to(normalized.dtype).view_as(normalized)

    def _rows(self, tensor: Tensor) -> Tensor:
        """The rows of each model, [R, rows, features]."""
        return self.checked(tensor).reshape(self.count, -1, tensor.shape[-1])


class _StackedEmbedding(torch.autograd.Function):
    """Rows of the embedding matrices [R, V, H] for ids [R * B, ...], those of each model from its own matrix."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding: int | None) -> Tensor:
        count, vocabulary, features = weight.shape
        offsets = torch.arange(count, device=ids.device).repeat_interleave(len(ids) // count) * vocabulary
        indices = ids + offsets.view(-1, *[1] * (ids.ndim - 1))
        ctx.shape, ctx.padding = weight.shape, padding
        # Padding has no gradient: in the backward pass its index is the same in all models.
        ctx.save_for_backward(indices if padding is None else indices.masked_fill(ids == padding, padding))
        return F.embedding(indices, weight.view(-1, features))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (indices,) = ctx.saved_tensors
        count, vocabulary, _ = ctx.shape
        padding = -1 if ctx.padding is None else ctx.padding
        summed = torch.ops.aten.embedding_dense_backward(gradient, indices, count * vocabulary, padding, False)
        return summed.view(ctx.shape), None, None


@contextmanager
def _as_global(generator: torch.Generator) -> Iterator[None]:
    """Draw from `generator`, which is on the CPU, in place of the global one."""
    before = torch.get_rng_state()
    torch.set_rng_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(torch.get_rng_state())
        torch.set_rng_state(before)
