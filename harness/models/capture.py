"""Captures the requested intermediate outputs of a model's forward pass, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from harness.api.batch import TaskKind
from harness.api.errors import Problem, UserError
from harness.api.model_outputs import LAYERED, Layered, ModelOutputs
from harness.models import attention
from harness.models.heads import PROBLEM_TYPES
from harness.models.introspection import find_parts
from harness.models.output_names import Need, check, parse

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Capture:
    """Runs a model and returns the requested outputs.

    All layers use the fused attention kernel, also those whose queries, keys, values, scores or context are requested.
    The forward pass ends at the deepest requested output. Hooks are installed for one `run` and removed after it, so
    that the model can be saved, copied or called between two runs.

    Works in train and eval mode, with and without gradients, in any dtype and under autocast.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Find the parts of `model` by one forward pass over four tokens."""
        self.model = model
        self._parts = find_parts(model)
        self._configs = attention.configs_of(model)

    @property
    def layers(self) -> int:
        """Number of encoder layers; 0 if no intermediate outputs can be captured."""
        return len(self._parts.layers)

    @property
    def scalings(self) -> tuple[float, ...]:
        """The factor of Q K^T in each layer."""
        return self._parts.scalings

    @property
    def kind(self) -> TaskKind:
        """The kind of task that the model's head is for."""
        if "start_positions" in self._parts.inputs:
            return "qa"
        if getattr(self.model, "get_output_embeddings", lambda: None)() is not None:
            return "text"
        if self._parts.by_token:
            return "token_classification"
        if self.model.config.problem_type == PROBLEM_TYPES["multilabel"]:
            return "multilabel"
        return "regression" if self.model.config.num_labels == 1 else "classification"

    def check(self, needs: Collection[str], who: str = "the model") -> list[Problem]:
        """Problems with requested outputs that the model does not have. `who` names the model in messages."""
        if self._parts.head is None and {"logits", "pooled"} & set(needs):
            return [Problem(f"{who} is a bare {type(self.model).__name__}: logits and pooled need a model with a head")]
        return check(needs, layers=self.layers, kind=self.kind, who=who, opaque=not self.layers)

    def run(
        self, inputs: Mapping[str, Tensor], needs: Collection[str], *, answer_mask: Tensor | None = None
    ) -> ModelOutputs:
        """One forward pass over `inputs`, up to the deepest output of `needs`.

        Args:
            inputs: model inputs, int64 [B, N]. Those that the model does not take (token types of DistilBERT) are
                dropped.
            needs: names of outputs; see `Needs`.
            answer_mask: QA only, bool [B, N]: tokens that an answer may contain; default: all real tokens.

        Raises:
            UserError: `check` finds a problem with `needs`.
        """
        problems = self.check(needs)
        if problems:
            raise UserError(*problems)
        requested = frozenset(cast(Need, parse(need)) for need in needs)
        if not requested:
            return ModelOutputs()
        record = _Record(requested)
        with self._hooked(record):
            try:
                outputs = self.model(**{k: v for k, v in inputs.items() if k in self._parts.inputs})
            except _StopForward:
                return record.outputs()
        mask = inputs["attention_mask"].bool() if answer_mask is None else answer_mask
        record.put(Need("logits"), lambda: _logits(outputs, mask))
        return record.outputs()

    @contextmanager
    def _hooked(self, record: _Record) -> Iterator[None]:
        """Install hooks on layers, head and attention for one forward pass."""
        parts = self._parts
        with ExitStack() as stack:
            if record.needs_layers:
                for layer in set(parts.layers):
                    stack.callback(layer.register_forward_pre_hook(record.before_layer, with_kwargs=True).remove)
                    stack.callback(layer.register_forward_hook(record.after_layer).remove)
            if parts.head is not None:
                stack.callback(parts.head.register_forward_pre_hook(record.before_head).remove)
            if parts.layers:
                stack.enter_context(attention.observe_attention(self._configs, record.before_attention))
            yield


class _StopForward(Exception):
    """Ends the forward pass after the deepest requested output; caught in this module."""


class _Record:
    """The outputs of one forward pass. Layers are counted as they run, because some share their weights."""

    def __init__(self, requested: frozenset[Need]) -> None:
        self._requested = requested
        deepest = max(requested, key=lambda need: need.depth).depth
        self._missing_deepest = {need for need in requested if need.depth == deepest}
        self._tensors: dict[Need, Tensor] = {}
        self._layer = 0

    @property
    def needs_layers(self) -> bool:
        """Whether outputs of the embeddings or of layers are requested."""
        return any(need.name not in ("logits", "pooled") for need in self._requested)

    def put(self, need: Need, compute: Callable[[], Tensor]) -> None:
        """Compute and keep the output if it is requested; end the forward pass after the deepest one."""
        if need not in self._requested:
            return
        self._tensors[need] = compute()
        self._missing_deepest.discard(need)
        if not self._missing_deepest and need.name != "logits":
            raise _StopForward

    def before_layer(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._layer += 1
        if self._layer == 1:
            self.put(Need("embeddings"), lambda: args[0] if args else kwargs["hidden_states"])

    def after_layer(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.put(Need("hidden", self._layer), lambda: output[0] if isinstance(output, tuple) else output)

    def before_attention(self, module: nn.Module, inputs: attention.AttentionInputs) -> Callable[[Tensor], None] | None:
        layer = self._layer
        self.put(Need("queries", layer), lambda: inputs.queries)
        self.put(Need("keys", layer), lambda: inputs.keys)
        self.put(Need("values", layer), lambda: inputs.values)
        self.put(Need("scores", layer), inputs.scores)
        context = Need("context", layer)
        if context not in self._requested:
            return None
        return lambda tensor: self.put(context, lambda: tensor.flatten(2))

    def before_head(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.put(Need("pooled"), lambda: args[0])

    def outputs(self) -> ModelOutputs:
        """All captured outputs."""
        layered: dict[str, dict[int, Tensor]] = defaultdict(dict)
        for need, tensor in self._tensors.items():
            if need.layer is not None:
                layered[need.name][need.layer] = tensor
        return ModelOutputs(
            _logits=self._tensors.get(Need("logits")),
            _pooled=self._tensors.get(Need("pooled")),
            _embeddings=self._tensors.get(Need("embeddings")),
            **{name: Layered(name, layered[name]) for name in LAYERED},
        )


def _logits(outputs: Any, answer_mask: Tensor) -> Tensor:
    """[B, C], or [B, N, C]; for QA [B, 2, N], with the lowest finite value outside `answer_mask`."""
    if not hasattr(outputs, "start_logits"):
        return cast(Tensor, outputs.logits)
    logits = torch.stack([outputs.start_logits, outputs.end_logits], dim=1)
    return logits.masked_fill(~answer_mask[:, None], torch.finfo(logits.dtype).min)
