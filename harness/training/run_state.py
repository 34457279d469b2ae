"""The state of a run for checkpoints: everything that it needs to resume with the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.api.events import LossPoint

if TYPE_CHECKING:
    from harness.training.run import Run

VERSION = 2
"""Version of the format. Raise it with the format: checkpoints of other versions are not loaded."""


def state_dict(run: Run) -> dict[str, Any]:
    """The run's state, of tensors and plain values."""
    return {
        "version": VERSION,
        "place": (run.stage_number, run.stage_step),
        "student": {name: _own(weight) for name, weight in run.student.state_dict().items()},
        "modules": run.modules.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "random": run.random.state_dict(),
        "log": run.log.state_dict(),
        "history": [point.model_dump() for point in run.history],
        "weighted_names": sorted(run.passes.weighted_names),
        "scaler": run.scaler.state_dict(),
        "best": run.best.state_dict() if run.best is not None else None,
        "starts": run.starts,
        "average": run.average.weights if run.average is not None else None,
        "counts": {
            "tokens": run.tokens,
            "padded_tokens": run.padded_tokens,
            "teacher_forwards": run.cost.teacher_forwards,
            "cohort_size": run.cost.cohort_size,
            "micro_batch_size": run.micro_batch_size,
            "skipped": run.skipped_steps,
        },
        "seconds": run.cost.seconds(),
    }


def _own(weight: Tensor) -> Tensor:
    """The weight in memory of its own: a checkpoint of a view would hold the students that it is stacked with."""
    return weight if weight.untyped_storage().nbytes() == weight.nbytes else weight.clone()


def can_load(run: Run, state: Mapping[str, Any]) -> bool:
    """Whether `load_state_dict` can load `state`: its version is this one, and all weights have the same shapes."""

    def shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
        return {name: weight.shape for name, weight in weights.items()}

    return state.get("version") == VERSION and all(
        shapes(module.state_dict()) == shapes(state[name])
        for name, module in (("student", run.student), ("modules", run.modules))
    )


def load_state_dict(run: Run, state: Mapping[str, Any]) -> None:
    """Resume from a `state_dict`."""
    run.student.load_state_dict(state["student"])
    run.modules.load_state_dict(state["modules"])
    run.enter_stage(*state["place"])
    if run.average is not None:
        run.average.load(state["average"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.random.load_state_dict(state["random"])
    run.log.load_state_dict(state["log"], run.device)
    run.history = [LossPoint.model_validate(point) for point in state["history"]]
    run.passes.weighted_names = set(state["weighted_names"])
    run.scaler.load_state_dict(state["scaler"])
    if run.best is not None:
        run.best.load_state_dict(state["best"])
    run.starts.update(state.get("starts", {}))
    counts = state["counts"]
    run.tokens = counts["tokens"]
    run.padded_tokens = counts["padded_tokens"]
    run.micro_batch_size = counts["micro_batch_size"]
    run.skipped.fill_(counts["skipped"])
    run.cost.resume(state["seconds"], counts["teacher_forwards"], counts.get("cohort_size"))
