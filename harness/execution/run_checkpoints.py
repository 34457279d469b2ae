"""Saves and restores checkpoints of unfinished runs. A restored run gives the same bits as an uninterrupted one."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import torch

from harness.storage import atomic_writes, checksums
from harness.storage.disk_errors import explained
from harness.training import run_state
from harness.training.run import Run

log = logging.getLogger("harness")


def save(run: Run, path: Path) -> None:
    """Write the run's state atomically, with a checksum."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a path, torch.save would not say why it cannot write
            torch.save(run_state.state_dict(run), file)
        checksums.append(temporary)

    atomic_writes.write(path, write)


def restore(run: Run, path: Path) -> bool:
    """Restore the run from its checkpoint. Returns whether it was restored.

    A checkpoint that is damaged or of another version is logged as a warning, and the run starts from its first step.

    Raises:
        DiskError: the disk cannot be read.
    """
    if not path.exists():
        return False
    try:
        checksums.verify_appended(path)
        # Random states must be on the CPU; load_state_dict copies the other tensors to their devices.
        with explained(path):
            state = torch.load(path, map_location="cpu", weights_only=True)
        if not run_state.can_load(run, state):
            raise checksums.CorruptFileError(f"{path} is of another version of the method or of kd-harness")
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError, checksums.CorruptFileError) as damage:
        log.warning("%s starts again from its first step, its checkpoint cannot be used: %s", run.id, damage)
        return False
    run_state.load_state_dict(run, state)
    return True
