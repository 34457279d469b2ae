"""Takes from a model's forward pass the tensors that a method asked for, and nothing else."""

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
from harness.models.introspection import dissect
from harness.models.output_names import Need, check, parse

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Capture:
    """Runs a model and hands over the tensors that are asked for.

    Layers that nobody asked about run the fused attention kernel untouched; a layer that is asked for its queries,
    keys, values, scores or context still computes its output with that kernel. The forward pass ends at the deepest
    tensor asked for. Everything is put in place for one `run` and taken away after it, so that between two runs
    the model is exactly as it was given: it can be saved, copied or called by anybody.

    Works in train and eval mode, with and without gradients, in any dtype and under autocast.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Find the parts of `model`, by one forward pass over four tokens."""
        self.model = model
        self._anatomy = dissect(model)
        self._configs = attention.configs_of(model)

    @property
    def layers(self) -> int:
        """How many layers the encoder has; 0 where nothing inside it can be captured."""
        return len(self._anatomy.layers)

    @property
    def scalings(self) -> tuple[float, ...]:
        """What each layer multiplies Q K^T by."""
        return self._anatomy.scalings

    @property
    def kind(self) -> TaskKind:
        """What the model's head is for."""
        if "start_positions" in self._anatomy.inputs:
            return "qa"
        if getattr(self.model, "get_output_embeddings", lambda: None)() is not None:
            return "text"
        return "regression" if self.model.config.num_labels == 1 else "classification"

    def check(self, needs: Collection[str], who: str = "the model") -> list[Problem]:
        """What `needs` ask for that the model cannot give. `who` is what the messages call it."""
        if self._anatomy.head is None and {"logits", "pooled"} & set(needs):
            return [Problem(f"{who} is a bare {type(self.model).__name__}: logits and pooled need a model with a head")]
        return check(needs, layers=self.layers, kind=self.kind, who=who, opaque=not self.layers)

    def run(
        self, inputs: Mapping[str, Tensor], needs: Collection[str], *, answer_mask: Tensor | None = None
    ) -> ModelOutputs:
        """One forward pass over `inputs`, as far as `needs` reach.

        Inputs that the model does not take (token types, for DistilBERT) are left out. `answer_mask`, bool [B, N],
        is where an answer may lie; without it, wherever a token is real. Raises `UserError` for needs that `check`
        refuses.
        """
        problems = self.check(needs)
        if problems:
            raise UserError(*problems)
        wanted = frozenset(cast(Need, parse(need)) for need in needs)
        if not wanted:
            return ModelOutputs()
        record = _Record(wanted)
        with self._watched(record):
            try:
                outputs = self.model(**{k: v for k, v in inputs.items() if k in self._anatomy.inputs})
            except _Enough:
                return record.tensors()
        mask = inputs["attention_mask"].bool() if answer_mask is None else answer_mask
        record.put(Need("logits"), lambda: _logits(outputs, mask))
        return record.tensors()

    @contextmanager
    def _watched(self, record: _Record) -> Iterator[None]:
        """Hooks on the layers and the head, and the attention tapped, for as long as one forward pass lasts."""
        anatomy = self._anatomy
        with ExitStack() as stack:
            if record.looks_inside:
                for layer in set(anatomy.layers):
                    stack.callback(layer.register_forward_pre_hook(record.before_layer, with_kwargs=True).remove)
                    stack.callback(layer.register_forward_hook(record.after_layer).remove)
            if anatomy.head is not None:
                stack.callback(anatomy.head.register_forward_pre_hook(record.before_head).remove)
            if anatomy.layers:
                stack.enter_context(attention.tapped(self._configs, record.before_attention))
            yield


class _Enough(Exception):
    """Raised inside the forward pass once the deepest tensor is there; never leaves this module."""


class _Record:
    """The tensors of one forward pass. Layers are told apart by the order in which they run, as some share weights."""

    def __init__(self, wanted: frozenset[Need]) -> None:
        self._wanted = wanted
        self._last = max(wanted, key=lambda need: need.depth).depth
        self._at_last = {need for need in wanted if need.depth == self._last}
        self._taken: dict[Need, Tensor] = {}
        self._layer = 0

    @property
    def looks_inside(self) -> bool:
        return any(need.name not in ("logits", "pooled") for need in self._wanted)

    def put(self, need: Need, tensor: Callable[[], Tensor]) -> None:
        """Keep the tensor if it was asked for, computing it only then; end the pass if nothing deeper was."""
        if need not in self._wanted:
            return
        self._taken[need] = tensor()
        self._at_last.discard(need)
        if not self._at_last and need.name != "logits":
            raise _Enough

    def before_layer(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._layer += 1
        if self._layer == 1:
            self.put(Need("embeddings"), lambda: args[0] if args else kwargs["hidden_states"])

    def after_layer(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.put(Need("hidden", self._layer), lambda: output[0] if isinstance(output, tuple) else output)

    def before_attention(self, module: nn.Module, attended: attention.Attended) -> Callable[[Tensor], None] | None:
        layer = self._layer
        self.put(Need("queries", layer), lambda: attended.queries)
        self.put(Need("keys", layer), lambda: attended.keys)
        self.put(Need("values", layer), lambda: attended.values)
        self.put(Need("scores", layer), attended.scores)
        context = Need("context", layer)
        if context not in self._wanted:
            return None
        return lambda tensor: self.put(context, lambda: tensor.flatten(2))

    def before_head(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.put(Need("pooled"), lambda: args[0])

    def tensors(self) -> ModelOutputs:
        layered: dict[str, dict[int, Tensor]] = defaultdict(dict)
        for need, tensor in self._taken.items():
            if need.layer is not None:
                layered[need.name][need.layer] = tensor
        return ModelOutputs(
            _logits=self._taken.get(Need("logits")),
            _pooled=self._taken.get(Need("pooled")),
            _embeddings=self._taken.get(Need("embeddings")),
            **{name: Layered(name, layered[name]) for name in LAYERED},
        )


def _logits(outputs: Any, answer_mask: Tensor) -> Tensor:
    """[B, C]; for QA [B, 2, N], the lowest value where no answer may lie."""
    if not hasattr(outputs, "start_logits"):
        return cast(Tensor, outputs.logits)
    logits = torch.stack([outputs.start_logits, outputs.end_logits], dim=1)
    return logits.masked_fill(~answer_mask[:, None], torch.finfo(logits.dtype).min)
