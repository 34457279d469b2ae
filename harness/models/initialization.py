"""Random initial weights that nothing else disturbs, and that disturb nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw on the CPU under `seed`, then put the global random state back.

    Models are made on the CPU, so that their initial weights do not depend on the device that trains them.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
