"""The interface of a latency backend: it makes a program from a model; a program, given inputs, makes the timed call.

`harness.latency.builtin_backends` registers the built-in ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Inputs = Mapping[str, torch.Tensor]
"""`input_ids`, `attention_mask` and, of real examples, `token_type_ids`: int64 [B, N], on the CPU."""

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

        The model may have fewer inputs than a batch: see `harness.latency.model_inputs.accepted_inputs`. Use torch's
        number of threads.
        """
