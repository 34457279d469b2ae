"""The state of a run for checkpoints: everything that it needs to resume with the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.training.run import Run

VERSION = 2
"""Version of the format. Raise it with the format: checkpoints of other versions are not loaded."""


def state_dict(run: Run) -> dict[str, Any]:
    """The run's state, of tensors and plain values: that of each of its parts."""
    return {
        "version": VERSION,
        "progress": run.progress.state_dict(),
        "trained": run.trained.state_dict(),
        "random": run.random.state_dict(),
        "gradients": run.gradients.state_dict(),
        "curve": run.curve.state_dict(),
        "stage_end": run.stage_end.state_dict(),
        "cost": run.cost.state_dict(),
    }


def can_load(run: Run, state: Mapping[str, Any]) -> bool:
    """Whether `load_state_dict` can load `state`: its version is this one, and all weights have the same shapes."""
    return state.get("version") == VERSION and run.trained.can_load(state["trained"])


def load_state_dict(run: Run, state: Mapping[str, Any]) -> None:
    """Resume from a `state_dict`."""
    run.progress.load_state_dict(state["progress"])
    run.trained.load_state_dict(state["trained"], run.stage)
    run.random.load_state_dict(state["random"])
    run.gradients.load_state_dict(state["gradients"])
    run.curve.load_state_dict(state["curve"], run.device)
    run.stage_end.load_state_dict(state["stage_end"])
    run.cost.load_state_dict(state["cost"])
