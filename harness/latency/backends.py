"""What runs a model. A backend makes a program of it; a program, given inputs, makes the call that is timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from numpy.typing import NDArray

from harness import hookimpl
from harness.latency import machine
from harness.latency.inputs import Inputs, read_by, taken

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Outputs = Sequence[NDArray[Any]]
"""All that the model returns, in its order, in the host's memory."""


class Program(Protocol):
    """A model in a backend."""

    def bind(self, inputs: Inputs) -> Callable[[], Outputs]:
        """Put the inputs where the device reads them, and give the call that computes the outputs from there.

        The call is what is timed. It returns when the outputs are in the host's memory. A batch of another shape than
        any before may be slow at its first call, which is never timed.
        """


class Backend(Protocol):
    """A way to run models.

    Attributes:
        exact: whether it is to compute what eager does, up to rounding. One that does not is refused then; of one that
            need not, the deviation is told.
        packages: names of distributions whose versions its times depend on, beside torch and transformers.
    """

    exact: bool
    packages: tuple[str, ...]

    def obstacle(self, device: torch.device) -> str | None:
        """Why it cannot be used there, with the remedy; None: it can. Asked before anything is trained."""

    def program(self, model: PreTrainedModel, device: torch.device, example: Inputs) -> Program:
        """`model` (in eval mode, on `device`) ready to run any shape; `example` shows it what inputs look like.

        The model may have fewer inputs than a batch: see `harness.latency.inputs.taken`. Torch's number of threads is
        that to take.
        """


class Eager:
    """PyTorch, as transformers writes its models."""

    exact = True
    packages: tuple[str, ...] = ()

    def obstacle(self, device: torch.device) -> str | None:
        return None

    def program(self, model: PreTrainedModel, device: torch.device, example: Inputs) -> Program:
        return TorchProgram(model, taken(model), device)


class TorchProgram:
    """A call of torch: of a model, or of what was made of it."""

    def __init__(self, forward: Callable[..., Any], names: Sequence[str], device: torch.device) -> None:
        self._forward = forward
        self._names = names
        self._device = device

    def bind(self, inputs: Inputs) -> Callable[[], Outputs]:
        there = {name: tensor.to(self._device) for name, tensor in read_by(self._names, inputs).items()}

        def call() -> Outputs:
            with torch.inference_mode():
                outputs = [tensor.cpu().numpy() for tensor in self._forward(**there).to_tuple()]
            machine.synchronize(self._device)
            return outputs

        return call


@hookimpl
def harness_register_latency_backends(register: Callable[[str, Backend], None]) -> None:
    """Those that come with the harness."""
    for name, backend in builtin().items():
        register(name, backend)


def builtin() -> Mapping[str, Backend]:
    """By the names that suites use."""
    from harness.latency.compiled import Compiled
    from harness.latency.onnx import Onnx, OnnxInt8

    return {"eager": Eager(), "compile": Compiled(), "onnx": Onnx(), "onnx-int8": OnnxInt8()}
