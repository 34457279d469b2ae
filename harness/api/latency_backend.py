"""The interface of a latency backend, which turns a model into a program whose calls are timed.

`harness.latency.builtin_backends` registers the built-in backends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from harness.api.lazy_torch import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

Inputs = Mapping[str, "torch.Tensor"]
"""`input_ids`, `attention_mask` and, if the model uses them, `token_type_ids`: int64 [B, N], on the CPU."""

Outputs = Sequence["NDArray[Any]"]
"""All outputs of the model, in its order, as arrays in host memory."""


class Program(Protocol):
    """A model that a backend has prepared for a device."""

    def bind(self, inputs: Inputs) -> Callable[[], Outputs]:
        """Copy the inputs to the device and return the call that computes the outputs from them.

        The call is timed. It returns when the outputs are in host memory. The first call with a new shape may be slow;
        it is never timed.
        """


class Backend(Protocol):
    """A way to run models for latency measurement.

    Attributes:
        exact: whether outputs must equal those of eager mode up to rounding. If True, a deviation is an error; if
            False, the deviation is reported.
        packages: distributions that the latency depends on, in addition to torch and transformers; their versions are
            recorded.
    """

    exact: bool
    packages: tuple[str, ...]

    def obstacle(self, device: torch.device) -> str | None:
        """Why the backend cannot run on `device`, with the remedy; None: it can. Called before any training."""

    def program(self, model: PreTrainedModel, device: torch.device, example: Inputs) -> Program:
        """Prepare `model` (in eval mode, on `device`) for inputs of any shape; `example` is an example of the inputs.

        The program receives inputs of the same names. Use torch's number of threads.
        """


class TorchProgram:
    """A program that calls a PyTorch model or function, which returns an output of transformers."""

    def __init__(self, forward: Callable[..., Any], device: torch.device) -> None:
        self._forward = forward
        self._device = device

    def bind(self, inputs: Inputs) -> Callable[[], Outputs]:
        on_device = {name: tensor.to(self._device) for name, tensor in inputs.items()}

        def call() -> Outputs:
            with torch.inference_mode():
                outputs = [tensor.cpu().numpy() for tensor in self._forward(**on_device).to_tuple()]
            synchronize(self._device)
            return outputs

        return call


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
