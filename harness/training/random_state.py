"""A run's own random state: the same draws alone and in a cohort."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from harness.api.seeds import derive


class RandomState:
    """Torch's global generators as one run sees them (dropout and initialisation draw from those), and a generator of
    the run's own for its method."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self.generator = torch.Generator().manual_seed(derive(seed, "method"))
        with _kept(device):
            torch.manual_seed(derive(seed, "training"))
            self._states = _global_states(device)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Put the run's state in the global generators' place for a while, and take it back with what was drawn."""
        with _kept(self.device):
            _set_global_states(self._states, self.device)
            try:
                yield
            finally:
                self._states = _global_states(self.device)

    def state_dict(self) -> dict[str, Any]:
        return {"global": self._states, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._states = state["global"]
        self.generator.set_state(state["generator"])


@contextmanager
def _kept(device: torch.device) -> Iterator[None]:
    before = _global_states(device)
    try:
        yield
    finally:
        _set_global_states(before, device)


def _global_states(device: torch.device) -> list[torch.Tensor]:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def _set_global_states(states: list[torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
