"""Checkpoints of unfinished runs: a run goes on as if it had never stopped."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

from harness.results import atomic
from harness.training.run import Run


def save(run: Run, path: Path) -> None:
    """Write the run's state, whole or not at all."""
    atomic.write(path, lambda temporary: torch.save(run.state_dict(), temporary))


def restore(run: Run, path: Path) -> bool:
    """Put the run where its checkpoint left off. False if there is none, or one that cannot be read: it starts anew."""
    if not path.exists():
        return False
    try:
        # Onto the CPU, where random states must be; whatever belongs elsewhere is copied there as it is put in place.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        return False
    run.load_state_dict(state)
    return True
