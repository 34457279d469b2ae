"""Checks by a forward pass whether models of an architecture can share passes (see `StackedStudents`)."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.api.errors import first_line
from harness.models.capture import Capture
from harness.models.memory_errors import ran_out_of_memory
from harness.models.stacked_students import StackedStudents

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEVICES = frozenset({"cpu", "cuda"})
"""Devices with random generators of their own for each model."""

TOLERANCE = 1e-2
"""Largest difference of an output from that of a pass of its own, relative to the largest value."""

log = logging.getLogger("harness")

_checked: dict[Hashable, bool] = {}


def architecture(model: PreTrainedModel) -> Hashable:
    """Equal for models that differ in nothing but the values of their parameters."""
    config = {key: value for key, value in model.config.to_dict().items() if not key.startswith("_")}
    shapes = tuple((name, tuple(parameter.shape)) for name, parameter in model.named_parameters())
    return type(model), json.dumps(config, sort_keys=True, default=str), shapes, str(model.device)


def can_share_passes(capture: Capture) -> bool:
    """Whether models like this one can share passes. Each architecture is checked once; a warning says which cannot.

    Out-of-memory errors propagate.
    """
    key = architecture(capture.model)
    if key not in _checked:
        problem = _problem(capture)
        _checked[key] = problem is None
        if problem is not None:
            log.warning(
                "training.execution is fused, but students of type %s train one after another: %s",
                capture.model.config.model_type,
                problem,
            )
    return _checked[key]


def _problem(capture: Capture) -> str | None:
    """Why models like this one cannot share passes; None if they can."""
    model = capture.model
    if model.device.type not in DEVICES:
        return f"{model.device.type} has one random generator for all of them"
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    if state := [n for n, t in model.state_dict().items() if n not in parameters and t.is_floating_point()]:
        return f"they keep {state[0]}, which is not a parameter"
    captures = [Capture(copy.deepcopy(model)), Capture(_altered(model))]
    try:
        difference = _difference(captures)
        if difference is not None:
            return difference
        return "they draw random numbers of their own" if _draws_globally(captures) else None
    except Exception as error:
        if ran_out_of_memory(error):  # says nothing about the architecture
            raise
        return first_line(error)


def _altered(model: PreTrainedModel) -> PreTrainedModel:
    """A copy with other weights."""
    altered, generator = copy.deepcopy(model), torch.Generator().manual_seed(1)
    for parameter in altered.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data += 0.02 * noise.to(parameter)
    return altered


def _difference(captures: Sequence[Capture]) -> str | None:
    """Which output of a shared pass is not that of the model alone; None if all are equal."""
    for capture in captures:
        capture.model.eval()
    inputs, needs = _inputs(captures[0].model), _needs(captures[0])
    with torch.no_grad():
        alone = [capture.run(inputs, needs).tensors() for capture in captures]
        generators = [torch.Generator(captures[0].model.device) for _ in captures]
        together = StackedStudents(captures).run(inputs, needs, generators).of_each
    for outputs, expected in zip(together, alone, strict=True):
        for found, right in zip(outputs.tensors(), expected, strict=True):
            limit = TOLERANCE * float(right.abs().max())
            if found.shape != right.shape or not bool(((found - right).abs() <= limit).all()):
                return "their outputs would change"
    return None


def _draws_globally(captures: Sequence[Capture]) -> bool:
    """Whether a shared pass in train mode draws random numbers from the global generators."""
    for capture in captures:
        capture.model.train()
    model = captures[0].model

    def states() -> list[Tensor]:
        on_device = [torch.cuda.get_rng_state(model.device)] if model.device.type == "cuda" else []
        return [torch.get_rng_state(), *on_device]

    before = states()
    generators = [torch.Generator(model.device) for _ in captures]
    with torch.no_grad():
        StackedStudents(captures).run(_inputs(model), _needs(captures[0]), generators)
    return not all(torch.equal(*pair) for pair in zip(before, states(), strict=True))


def _inputs(model: PreTrainedModel) -> dict[str, Tensor]:
    """Three examples of 16 tokens, of which one is padded."""
    ids = torch.arange(48).view(3, 16) % model.config.vocab_size
    mask = torch.ones_like(ids)
    mask[1, 11:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return {name: tensor.to(model.device) for name, tensor in inputs.items()}


def _needs(capture: Capture) -> frozenset[str]:
    head = {"logits"} if capture.parts.head is not None else set()
    return frozenset({*head, *(f"hidden[{layer}]" for layer in range(1, capture.layers + 1))})
