"""Finds a model's layers, attention and head by observing one tiny forward pass.

Layers are identified by module, not by index: DistilBERT's have none, and ALBERT's layers share one. A layer is what
holds an attention module or, if the encoder ignores transformers' attention interface, an element of its module list.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.api.errors import UserError
from harness.api.model_outputs import LAYERED
from harness.models import attention, families, projections, resizing
from harness.models.projections import Projections
from harness.models.quiet_transformers import quiet_transformers
from harness.storage.derived_values import derived
from harness.storage.frozen_model import FrozenModel

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


TOKENS = 8
"""Length of the sequence by which the parts of a model are found. Funnel fails on fewer than five tokens."""


@dataclass(frozen=True)
class ModelParts:
    """The parts of a model.

    Attributes:
        layers: the encoder's layers in the order in which they run; a shared layer (ALBERT) occurs once for each time
            it runs. Empty if the encoder is not a sequence of layers with outputs of one shape (Funnel).
        final: the module after the last layer whose output is the encoder's, such as a norm; None if there is none.
        behind: modules of the encoder that run after the last layer only, such as a norm or a pooler.
        head: the last linear layer outside the encoder; None for a bare encoder.
        inputs: names of the inputs that the model takes.
        by_token: whether the model computes logits for each token.
        scalings: the factor of Q K^T in each layer.
        projections: by layer, if the encoder ignores transformers' attention interface and its projections have known
            names; else empty.
        missing: names of outputs that cannot be captured.
        layer_outputs: the number of values that a layer returns as a tuple; None: it returns a tensor.
    """

    layers: tuple[nn.Module, ...]
    final: nn.Module | None
    behind: frozenset[nn.Module]
    head: nn.Linear | None
    inputs: frozenset[str]
    by_token: bool
    scalings: tuple[float, ...]
    projections: tuple[Projections, ...]
    missing: frozenset[str]
    layer_outputs: int | None = None

    def layer_output(self, states: torch.Tensor) -> Any:
        """The hidden states in the form in which a layer returns them."""
        return states if self.layer_outputs is None else (states, *[None] * (self.layer_outputs - 1))


def find_parts(model: PreTrainedModel) -> ModelParts:
    """Find the parts of `model` by one forward pass over a few tokens. The model is not changed."""
    encoder = model.base_model
    trace = _traced(model, encoder)
    by_interface = bool(trace.attention_modules)
    layers = _owners(encoder, trace.attention_modules) if by_interface else _sequence(encoder, trace)
    hooked = () if by_interface else _projections(layers)
    return ModelParts(
        layers=layers,
        final=_final(encoder, layers, trace),
        behind=_behind(layers, trace),
        head=trace.heads[-1] if trace.heads else None,
        inputs=input_names(model),
        by_token=trace.by_token,
        scalings=_own_scalings(encoder.config, len(layers)) if hooked else tuple(trace.scalings),
        projections=hooked,
        missing=_missing(encoder.config, layers, by_interface=by_interface, hooked=bool(hooked)),
        layer_outputs=_tuple_size(layers, trace),
    )


def missing_outputs(config: PretrainedConfig, name: str, *, trust_remote_code: bool = False) -> frozenset[str]:
    """Names of outputs that cannot be captured from encoders of this configuration, which messages call `name`.

    Found by a forward pass of an encoder with one layer and meaningless weights, on the CPU. Cached.

    Raises:
        UserError: the encoder cannot be built, or its forward pass fails.
    """
    key = (config.to_json_string(), trust_remote_code)
    if key not in _missing_by_config:
        find = partial(_find_missing, config, name, trust_remote_code)
        own_code = (lambda: None) if trust_remote_code else tuple  # the files of a checkpoint's code are not known
        found = derived("missing_outputs", {"config": key[0]}, _Missing, find, files=own_code)
        _missing_by_config[key] = found.outputs
    return _missing_by_config[key]


_missing_by_config: dict[tuple[str, bool], frozenset[str]] = {}


class _Missing(FrozenModel):
    outputs: frozenset[str]


def _find_missing(config: PretrainedConfig, name: str, trust_remote_code: bool) -> _Missing:
    sizes = families.shape(config, name)
    one = resizing.resized(config, layers=1, hidden=sizes.hidden, heads=sizes.heads, ffn=sizes.ffn)
    try:
        with quiet_transformers():
            return _Missing(outputs=find_parts(_empty_model(one, trust_remote_code)).missing)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(
            f"{name}: an encoder of type {config.model_type!r} with {sizes.heads} heads, hidden {sizes.hidden} and"
            f" FFN {sizes.ffn} fails on {TOKENS} tokens: {type(error).__name__}: {reason}"
        ) from error


def _empty_model(config: PretrainedConfig, trust_remote_code: bool) -> PreTrainedModel:
    """An encoder with meaningless weights, whose memory is not used before they are read."""
    from transformers import AutoModel

    config.architectures = config.architectures or []  # None fails in families with several base models (Funnel)

    def build() -> PreTrainedModel:
        model: PreTrainedModel = AutoModel.from_config(config, trust_remote_code=trust_remote_code)
        return model

    try:
        with torch.device("meta"):
            model = build()
    except (NotImplementedError, RuntimeError):  # its code computes with values of tensors, which do not exist there
        return build()
    model.to_empty(device="cpu")
    for buffer in model.buffers():  # such as position ids, which index embeddings
        buffer.zero_()
    return model


class _Trace:
    """What ran in one forward pass."""

    def __init__(self) -> None:
        self.attention_modules: list[nn.Module] = []
        self.scalings: list[float] = []
        self.heads: list[nn.Linear] = []
        """Linear layers outside the encoder."""
        self.outputs: list[tuple[nn.Module, Any]] = []
        """Modules of the encoder in the order in which they end, with their outputs."""
        self.by_token = False
        """Whether the model computes logits for each token."""

    def on_attention(self, module: nn.Module, inputs: attention.AttentionInputs) -> None:
        self.attention_modules.append(module)
        self.scalings.append(inputs.scaling)

    def after_encoder_module(self, module: nn.Module, _: Any, output: Any) -> None:
        self.outputs.append((module, output))

    def after_other_module(self, module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(module, nn.Linear):
            self.heads.append(module)


def _traced(model: PreTrainedModel, encoder: nn.Module) -> _Trace:
    """The trace of a forward pass of `model` in eval mode."""
    trace, inside = _Trace(), set(encoder.modules())
    with ExitStack() as stack:
        for module in model.modules():
            hook = trace.after_encoder_module if module in inside else trace.after_other_module
            stack.callback(module.register_forward_hook(hook).remove)
        stack.enter_context(evaluating(model))
        stack.enter_context(torch.no_grad())
        stack.enter_context(attention.observe_attention(attention.configs_of(model), trace.on_attention))
        tokens = torch.zeros(1, TOKENS, dtype=torch.long, device=model.device)
        logits = getattr(model(input_ids=tokens, attention_mask=torch.ones_like(tokens)), "logits", None)
    trace.by_token = logits is not None and logits.ndim == 3
    return trace


def _owners(encoder: nn.Module, attention_modules: Sequence[nn.Module]) -> tuple[nn.Module, ...]:
    """For each attention module the layer that holds it: the element of the innermost list; empty if one has none."""
    owners = _list_elements(encoder)
    layers = tuple(owners[module] for module in attention_modules if module in owners)
    return layers if len(layers) == len(attention_modules) else ()


def _sequence(encoder: PreTrainedModel, trace: _Trace) -> tuple[nn.Module, ...]:
    """The elements of the outermost lists that ran, if there is one for each layer and their outputs have one shape."""
    lists = [module for module in encoder.modules() if isinstance(module, nn.ModuleList)]
    nested = {module for outer in lists for element in outer for module in element.modules()}
    elements = {element for outer in lists if outer not in nested for element in outer}
    ran = [(module, first_tensor(output)) for module, output in trace.outputs if module in elements]
    widths = {tensor.shape[-1] for _, tensor in ran}
    depth, hidden = (getattr(encoder.config, key, None) for key in (families.LAYERS, families.HIDDEN))
    if len(ran) != depth or widths != {hidden} or len({tensor.shape for _, tensor in ran}) != 1:
        return ()
    return tuple(module for module, _ in ran)


def _behind(layers: Sequence[nn.Module], trace: _Trace) -> frozenset[nn.Module]:
    """The encoder's modules that ran after the last layer, and not before."""
    if not layers:
        return frozenset()
    ran = [module for module, _ in trace.outputs]
    last = _last_run(layers[-1], trace)
    return frozenset(ran[last + 1 :]).difference(ran[: last + 1])


def _last_run(layer: nn.Module, trace: _Trace) -> int:
    """The position of the layer's last run in the trace."""
    return max(index for index, (module, _) in enumerate(trace.outputs) if module is layer)


def _final(encoder: nn.Module, layers: Sequence[nn.Module], trace: _Trace) -> nn.Module | None:
    """The module after the last layer whose output is the encoder's."""
    if not layers:
        return None
    last = _last_run(layers[-1], trace)
    (encoder_output,) = (output for module, output in trace.outputs if module is encoder)
    states = first_tensor(encoder_output)
    if first_tensor(trace.outputs[last][1]) is states:
        return None
    return next((module for module, output in trace.outputs[last + 1 :] if output is states), None)


def _tuple_size(layers: Sequence[nn.Module], trace: _Trace) -> int | None:
    """The number of values that a layer returns as a tuple; None: a tensor."""
    output = next((output for module, output in trace.outputs if layers and module is layers[0]), None)
    return len(output) if isinstance(output, tuple) else None


def first_tensor(output: Any) -> torch.Tensor:
    """The first tensor of a module's output: the hidden states, if the module is a layer or an encoder."""
    tensor: torch.Tensor = output if isinstance(output, torch.Tensor) else output[0]
    return tensor


def _projections(layers: Sequence[nn.Module]) -> tuple[Projections, ...]:
    """The projections of each layer; empty if they are unknown in one of them."""
    found = tuple(item for layer in layers if (item := projections.find(layer)) is not None)
    return found if len(found) == len(layers) else ()


def _own_scalings(config: PretrainedConfig, layers: int) -> tuple[float, ...]:
    sizes = families.shape(config, config.model_type)
    return (float(sizes.qkv_width // sizes.heads) ** -0.5,) * layers


def _missing(
    config: PretrainedConfig, layers: Sequence[nn.Module], *, by_interface: bool, hooked: bool
) -> frozenset[str]:
    """Names of outputs that cannot be captured."""
    if not layers:
        return frozenset({"embeddings", *LAYERED})
    if by_interface:
        return frozenset()
    if not hooked:
        return frozenset(LAYERED) - {"hidden"}
    return frozenset() if config.model_type in families.OWN_SCORES else frozenset({"scores"})


def _list_elements(model: nn.Module) -> dict[nn.Module, nn.Module]:
    """For each module inside a ModuleList, the element of the innermost list that holds it."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]  # outer ones come first
    return {inner: element for modules in lists for element in modules for inner in element.modules()}


def input_names(model: PreTrainedModel) -> frozenset[str]:
    """The names of the inputs of a model, with `token_type_ids` only if it has several segments.

    Models that take them and whose configuration has no `type_vocab_size` (Funnel) have a fixed number of segments.
    """
    names = set(inspect.signature(model.forward).parameters)
    if getattr(model.config, "type_vocab_size", 2) < 2:
        names.discard("token_type_ids")  # RoBERTa has one segment: an index of 1 is out of range
    return frozenset(names)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch to eval mode; on exit restore the mode of each module, as a part of the model may be frozen."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
