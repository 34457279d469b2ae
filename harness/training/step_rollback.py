"""Undoes an attempt at a training step, before the step is repeated or the run is deferred for lack of memory."""

from __future__ import annotations

import torch
from torch import nn

from harness.training.random_state import RandomState


class StepRollback:
    """What an attempt at a step changes before the weights are updated: random state, the method's buffers, gradients.

    Remembers them on construction.
    """

    def __init__(self, random: RandomState, modules: nn.ModuleDict, optimizer: torch.optim.Optimizer) -> None:
        self._random, self._optimizer = random, optimizer
        self._random_state = random.state_dict()
        self._buffers = [
            (module, name, buffer, buffer.clone())
            for module in modules.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]

    def restore(self) -> None:
        """Put random state and buffers back, and drop the gradients."""
        self._random.load_state_dict(self._random_state)
        for module, name, buffer, value in self._buffers:
            buffer.copy_(value)
            setattr(module, name, buffer)  # the method may have assigned another tensor
        self._optimizer.zero_grad(set_to_none=True)
