"""The random state of one run, isolated so that its draws do not depend on the other runs of the cohort."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from harness.api.seeds import derive


class RandomState:
    """A run's states of torch's global generators, which dropout and initialization use, and its method's generator.

    Both are derived from `seed`.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self.generator = torch.Generator().manual_seed(derive(seed, "method"))
        with _preserved(device):
            torch.manual_seed(derive(seed, "training"))
            self._states = _global_states(device)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Use the run's states in the global generators; on exit save them and restore the previous ones."""
        with _preserved(self.device):
            _set_global_states(self._states, self.device)
            try:
                yield
            finally:
                self._states = _global_states(self.device)

    @contextmanager
    def device_generator(self) -> Iterator[torch.Generator]:
        """A generator on the run's device that draws what the global one would draw in `active`."""
        generator = torch.Generator(self.device)
        generator.set_state(self._states[-1])
        try:
            yield generator
        finally:
            self._states = [*self._states[:-1], generator.get_state()]

    def state_dict(self) -> dict[str, Any]:
        return {"global": self._states, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._states = state["global"]
        self.generator.set_state(state["generator"])


@contextmanager
def _preserved(device: torch.device) -> Iterator[None]:
    """Restore the global generators' states on exit."""
    before = _global_states(device)
    try:
        yield
    finally:
        _set_global_states(before, device)


def _global_states(device: torch.device) -> list[torch.Tensor]:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    elif device.type == "mps":
        states.append(torch.mps.get_rng_state())
    return states


def _set_global_states(states: list[torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states[1])
