"""Captures the requested intermediate outputs of a model's forward pass, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from harness.api.batch import TaskKind
from harness.api.errors import Problem, UserError
from harness.api.model_outputs import LAYERED, Layered, ModelOutputs
from harness.models import attention
from harness.models.heads import kind_of_sequence_head
from harness.models.introspection import ModelParts, find_parts, first_tensor
from harness.models.layer_calls import LayerCall, forwards_replaced, unobserved, with_layer_states
from harness.models.output_names import Need, check, parse
from harness.models.pass_changes import PassChanges, applied, repadded, with_states
from harness.models.projections import SplitHeads

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class Capture:
    """Runs a model and returns the requested outputs.

    All layers use the fused attention kernel, also those whose queries, keys, values, scores or context are requested.
    In encoders that compute attention themselves, these outputs are taken from its projections.
    The forward pass ends at the deepest requested output. Hooks are installed for one `run` and removed after it, so
    that the model can be saved, copied or called between two runs.

    Works in train and eval mode, with and without gradients, in any dtype and under autocast.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Find the parts of `model` by one forward pass over a few tokens."""
        self.model = model
        self.parts = find_parts(model)
        self._configs = attention.configs_of(model)

    @property
    def layers(self) -> int:
        """Number of encoder layers; 0 if no intermediate outputs can be captured."""
        return len(self.parts.layers)

    @property
    def scalings(self) -> tuple[float, ...]:
        """The factor of Q K^T in each layer."""
        return self.parts.scalings

    @property
    def kind(self) -> TaskKind:
        """The kind of task that the model's head is for."""
        if "start_positions" in self.parts.inputs:
            return "qa"
        if getattr(self.model, "get_output_embeddings", lambda: None)() is not None:
            return "text"
        if self.parts.by_token:
            return "token_classification"
        return kind_of_sequence_head(self.model.config)

    def check(self, needs: Collection[str], who: str = "the model") -> list[Problem]:
        """Problems with requested outputs that the model does not have. `who` names the model in messages."""
        if self.parts.head is None and {"logits", "pooled"} & set(needs):
            return [Problem(f"{who} is a bare {type(self.model).__name__}: logits and pooled need a model with a head")]
        family = self.model.config.model_type
        return check(needs, layers=self.layers, kind=self.kind, who=who, family=family, missing=self.parts.missing)

    def run(
        self,
        inputs: Mapping[str, Tensor],
        needs: Collection[str],
        *,
        answer_mask: Tensor | None = None,
        changes: PassChanges | None = None,
    ) -> ModelOutputs:
        """One forward pass over `inputs`, up to the deepest output of `needs`.

        Args:
            inputs: model inputs, int64 [B, N]. Those that the model does not take (token types of DistilBERT) are
                dropped.
            needs: names of outputs; see `Needs`.
            answer_mask: QA only, bool [B, N]: tokens that an answer may contain; default: all real tokens.
            changes: what the pass does differently. With it, even without a change, each captured `embeddings` and
                `hidden[i]` is the tensor that the rest of the pass is computed from.

        Raises:
            UserError: `check` finds a problem with `needs`, or the model does not have what `changes` names.
        """
        changed = changes or PassChanges()
        problems = self.check([*needs, *map(str, changed.patches), *(f"hidden[{layer}]" for layer in changed.layers)])
        if problems:
            raise UserError(*problems)
        requested = frozenset(cast(Need, parse(need)) for need in needs)
        if not requested:
            return ModelOutputs()
        record = _Record(requested, self.parts, changes, length=inputs["input_ids"].shape[1])
        with self._hooked(record):
            try:
                outputs = self._forward(inputs, changed.parameters)
            except _StopForward:
                return record.outputs()
        mask = inputs["attention_mask"].bool() if answer_mask is None else answer_mask
        record.put(Need("logits"), lambda: _logits(outputs, mask))
        return record.outputs()

    def layer_calls(self, inputs: Mapping[str, Tensor]) -> Mapping[int, LayerCall]:
        """The calls of all layers in a forward pass over `inputs` that computes no layer, by layer, from 1.

        Raises:
            UserError: the encoder is not a sequence of layers.
        """
        if problems := self.check(["hidden[1]"]):
            raise UserError(*problems)
        calls: dict[int, LayerCall] = {}
        configs = self._observed_configs

        def record(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            calls[len(calls) + 1] = LayerCall(configs, layer, args, kwargs)
            if len(calls) == self.layers:
                raise _StopForward
            return self.parts.layer_output(args[0] if args else kwargs["hidden_states"])

        with (
            attention.observe_attention(configs, unobserved),
            forwards_replaced(self.parts.layers, record),
            suppress(_StopForward),
        ):
            self._forward(inputs, {})
        return calls

    @property
    def _observed_configs(self) -> Sequence[PretrainedConfig]:
        """Configurations of modules whose attention is observed; none in encoders that compute attention themselves."""
        return () if not self.parts.layers or self.parts.projections else self._configs

    def _forward(self, inputs: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> Any:
        accepted = {name: tensor for name, tensor in inputs.items() if name in self.parts.inputs}
        if not parameters:
            return self.model(**accepted)
        return torch.func.functional_call(self.model, dict(parameters), (), accepted)

    @contextmanager
    def _hooked(self, record: _Record) -> Iterator[None]:
        """Install hooks on layers, head and attention for one forward pass."""
        parts = self.parts
        with ExitStack() as stack:
            if record.needs_layers:
                if record.replaces_layers:
                    stack.enter_context(forwards_replaced(parts.layers, record.instead_of_layer))
                for layer in set(parts.layers):
                    stack.callback(layer.register_forward_pre_hook(record.before_layer, with_kwargs=True).remove)
                last = parts.final or parts.layers[-1]
                stack.callback(last.register_forward_hook(record.after_last).remove)
                for hook in record.hook_projections():
                    stack.callback(hook.remove)
            if parts.head is not None:
                stack.callback(parts.head.register_forward_pre_hook(record.before_head).remove)
            if configs := self._observed_configs:
                stack.enter_context(attention.observe_attention(configs, record.before_attention))
            yield


class _StopForward(Exception):
    """Ends the forward pass after the deepest requested output; caught in this module."""


class _Record:
    """The outputs of one forward pass. Layers are counted as they run, because some share their weights."""

    def __init__(
        self, requested: frozenset[Need], parts: ModelParts, changes: PassChanges | None, *, length: int
    ) -> None:
        self._requested = requested
        self._parts = parts
        self._changes = changes
        self._length = length
        deepest = max(requested, key=lambda need: need.depth).depth
        self._missing_deepest = {need for need in requested if need.depth == deepest}
        self._tensors: dict[Need, Tensor] = {}
        self._for_scores: dict[int, dict[str, Tensor]] = defaultdict(dict)
        self._layer = 0

    @property
    def needs_layers(self) -> bool:
        """Whether outputs of the embeddings or of layers are requested or changed."""
        changed = self._changes is not None and self._changes.at_layers
        return changed or any(need.name not in ("logits", "pooled") for need in self._requested)

    @property
    def replaces_layers(self) -> bool:
        """Whether functions take the place of layers."""
        return self._changes is not None and bool(self._changes.layers)

    def put(self, need: Need, compute: Callable[[], Tensor]) -> None:
        """Compute and keep the output if it is requested; end the forward pass after the deepest one.

        An output that is there already is kept: DeBERTa projects its relative positions, too, after the tokens.
        """
        if need not in self._requested or need in self._tensors:
            return
        self._tensors[need] = compute()
        self._missing_deepest.discard(need)
        if not self._missing_deepest and need.name != "logits":
            raise _StopForward

    def before_layer(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        # A layer's output is taken as the next one's input, as in transformers' hidden_states: DeBERTa-v2 adds a
        # convolution between the first two.
        need = Need("hidden", self._layer) if self._layer else Need("embeddings")
        self._layer += 1
        given = args[0] if args else kwargs["hidden_states"]
        used = self._put_states(need, given)
        return None if used is given else with_layer_states(args, kwargs, used)

    def instead_of_layer(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The output of the current layer, or of the function that takes its place."""
        assert self._changes is not None
        function = self._changes.layers.get(self._layer)
        if function is None:
            return type(layer).forward(layer, *args, **kwargs)
        given = args[0] if args else kwargs["hidden_states"]
        states = applied(function, self._unpadded(given), f"the function in place of layer {self._layer}")
        return self._parts.layer_output(repadded(states, given))

    def after_last(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if self._layer < len(self._parts.layers):  # a shared layer runs several times
            return None
        given = first_tensor(output)
        used = self._put_states(Need("hidden", self._layer), given)
        return None if used is given else with_states(output, used)

    def _put_states(self, need: Need, given: Tensor) -> Tensor:
        """Keep hidden states if they are requested, after their patch if there is one.

        Returns the states for the rest of the pass: `given` itself if nothing is changed.
        """
        states = self._unpadded(given)
        if self._changes is not None and need in self._changes.patches:
            states = applied(self._changes.patches[need], states, f"the patch of {need}")
        self.put(need, lambda: states)
        # Without changes, the encoder continues with its own padded tensor, of which `states` may be a view.
        return given if self._changes is None or states is given else repadded(states, given)

    def hook_projections(self) -> Iterator[RemovableHandle]:
        """Install hooks on the projections of the layers whose attention outputs are requested."""
        layers = {need.layer for need in self._requested if need.layer and need.name != "hidden"}
        for layer in layers if self._parts.projections else ():
            projections = self._parts.projections[layer - 1]
            for module, outputs in projections.inputs:
                yield module.register_forward_hook(partial(self._after_projection, layer, outputs))
            yield projections.output.register_forward_pre_hook(partial(self._before_output, layer))

    def _after_projection(
        self, layer: int, outputs: Mapping[str, SplitHeads], module: nn.Module, args: tuple[Any, ...], output: Tensor
    ) -> None:
        for name, split in outputs.items():
            vectors = partial(self._by_head, split, output)
            self.put(Need(name, layer), vectors)
            if name in ("queries", "keys") and Need("scores", layer) in self._requested:
                self._for_scores[layer][name] = vectors()
        if len(self._for_scores[layer]) == 2:
            queries, keys = self._for_scores[layer]["queries"], self._for_scores[layer]["keys"]
            scaling = self._parts.scalings[layer - 1]
            self.put(Need("scores", layer), lambda: torch.matmul(queries, keys.transpose(-1, -2)) * scaling)

    def _by_head(self, split: SplitHeads, projected: Tensor) -> Tensor:
        return self._unpadded(split(projected), axis=2)

    def _before_output(self, layer: int, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.put(Need("context", layer), lambda: self._unpadded(args[0]))

    def _unpadded(self, tensor: Tensor, axis: int = 1) -> Tensor:
        """The tensor without the padding that the encoder itself appends: Longformer's, to a multiple of its window."""
        return tensor if tensor.shape[axis] == self._length else tensor.narrow(axis, 0, self._length)

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
