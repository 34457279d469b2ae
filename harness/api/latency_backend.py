"""The interface of a latency backend, which turns a model into a program whose calls are timed.

`harness.latency.builtin_backends` registers the built-in backends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

Inputs = Mapping[str, "torch.Tensor"]
"""`input_ids`, `attention_mask` and, for real examples, `token_type_ids`: int64 [B, N], on the CPU."""

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

        The model may have fewer inputs than a batch: see `harness.latency.model_inputs.accepted_inputs`. Use torch's
        number of threads.
        """
