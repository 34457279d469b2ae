"""What runs a model. A backend makes a program of it; a program, given inputs, makes the call that is timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from harness.errors import UserError
from harness.latency import machine
from harness.latency.onnx import Onnx

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Inputs = Mapping[str, torch.Tensor]
"""`input_ids` and `attention_mask`, int64 [B, N], on the CPU."""

Outputs = Sequence[NDArray[Any]]
"""All that the model returns, in its order, in the host's memory."""

TOLERANCE = 1e-3
"""By which another backend's outputs may differ from eager's: absolute, and relative to them."""


class Program(Protocol):
    """A model in a backend."""

    def bind(self, inputs: Inputs) -> Callable[[], Outputs]:
        """Put the inputs where the device reads them, and give the call that computes the outputs from there."""


class Backend(Protocol):
    """A way to run models. `obstacle` says, before anything is trained, why it cannot be used; None: it can."""

    def obstacle(self, device: torch.device) -> str | None: ...

    def program(self, model: PreTrainedModel, device: torch.device, example: Inputs) -> Program:
        """`model` (in eval mode, on `device`) ready to run any shape; `example` shows it what inputs look like."""


class Eager:
    """PyTorch, as transformers writes its models."""

    def obstacle(self, device: torch.device) -> str | None:
        return None

    def program(self, model: PreTrainedModel, device: torch.device, example: Inputs) -> Program:
        return _EagerProgram(model, device)


class _EagerProgram:
    def __init__(self, model: PreTrainedModel, device: torch.device) -> None:
        self.model = model
        self.device = device

    def bind(self, inputs: Inputs) -> Callable[[], Outputs]:
        there = {name: tensor.to(self.device) for name, tensor in inputs.items()}

        def call() -> Outputs:
            with torch.inference_mode():
                outputs = [tensor.cpu().numpy() for tensor in self.model(**there).to_tuple()]
            machine.synchronize(self.device)
            return outputs

        return call


BACKENDS: Mapping[str, Backend] = {"eager": Eager(), "onnx": Onnx()}
"""By the name that suites use."""


def check_equal(name: str, backend: str, program: Program, eager: Program, batches: Sequence[Inputs]) -> None:
    """See that a backend computes what eager does, on padded batches too: a fast wrong answer is not timed.

    Raises:
        UserError: it does not; the message says by how much.
    """
    for inputs in batches:
        found, right = program.bind(inputs)(), eager.bind(inputs)()
        shapes = [[list(output.shape) for output in outputs] for outputs in (found, right)]
        if shapes[0] != shapes[1]:
            raise UserError(f"latency: {backend} gives {name} outputs of shapes {shapes[0]}, and eager {shapes[1]}")
        for ours, theirs in zip(found, right, strict=True):
            if not np.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE):
                worst = float(np.abs(ours - theirs).max())
                batch, length = inputs["input_ids"].shape
                raise UserError(
                    f"latency: {backend} does not compute what eager does for {name}: outputs of batch {batch}, length"
                    f" {length} differ by up to {worst:.3g} (allowed: {TOLERANCE:g}), so it was not timed; leave"
                    f" {backend!r} out of latency.backends"
                )
