"""Loss curves over the seeds of a row, from the losses in its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, repeat

import numpy as np

from harness.analysis.logged_losses import LoggedLosses
from harness.analysis.student_t import Floats

MAX_POINTS = 60
"""Maximum number of points of a stage; of more, neighbouring points are averaged."""


@dataclass(frozen=True)
class Curve:
    """The total loss of a row on one task, stage by stage. Stages may minimise different losses."""

    stages: tuple[StageCurve, ...]

    @property
    def positive(self) -> bool:
        """Whether all finite losses are positive, as a logarithmic axis needs."""
        return all(bool((stage.losses[np.isfinite(stage.losses)] > 0).all()) for stage in self.stages)


@dataclass(frozen=True)
class StageCurve:
    """A stage of a curve: `steps` of shape [points], `losses` of shape [seeds, points]."""

    steps: Floats
    losses: Floats

    @property
    def mean(self) -> Floats:
        """The mean over the seeds, of shape [points]; NaN where a seed is NaN."""
        mean: Floats = self.losses.mean(axis=0)
        return mean


def curve(seeds: Sequence[LoggedLosses]) -> Curve | None:
    """Build the curve from the losses of each seed, at the steps that all seeds logged; None if there are none."""
    by_seed = [_total_losses(losses) for losses in seeds]
    shared = [key for key in by_seed[0] if all(key in losses for losses in by_seed)] if by_seed else []
    stages = []
    for _, group in groupby(shared, key=lambda key: key[0]):
        keys = list(group)
        steps = np.array([step for _, step in keys], dtype=np.float64)
        losses = np.array([[seed_losses[key] for key in keys] for seed_losses in by_seed])
        stages.append(_thinned(StageCurve(steps, losses)))
    return Curve(tuple(stages)) if stages else None


def _total_losses(losses: LoggedLosses) -> dict[tuple[str, int], float]:
    """Return (stage, step) -> total loss, where it was logged."""
    if "loss" not in losses.terms:
        return {}
    points = zip(losses.stage_of, losses.steps.tolist(), losses.terms["loss"].tolist(), strict=True)
    logged = ~losses.absent["loss"] if "loss" in losses.absent else repeat(True)
    return {(stage, step): total for (stage, step, total), known in zip(points, logged, strict=False) if known}


def _thinned(stage: StageCurve) -> StageCurve:
    """Average neighbouring points, so that at most `MAX_POINTS` are left."""
    parts = np.array_split(np.arange(len(stage.steps)), min(MAX_POINTS, len(stage.steps)))
    losses = np.stack([stage.losses[:, part].mean(axis=1) for part in parts], axis=1)
    return StageCurve(np.array([stage.steps[part[-1]] for part in parts]), losses)
