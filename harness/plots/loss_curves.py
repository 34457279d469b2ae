"""Curves of the losses that records hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from harness.analysis.student_t import Floats
from harness.api.events import LossPoint

MOST = 60
"""Points of a stage; of more, neighbours are averaged."""


@dataclass(frozen=True)
class Curve:
    """The total loss of a row on one task, stage after stage, whose losses need not be one quantity."""

    stages: tuple[Stage, ...]

    @property
    def positive(self) -> bool:
        """Whether a logarithmic axis can show it."""
        return all(bool((stage.losses[np.isfinite(stage.losses)] > 0).all()) for stage in self.stages)


@dataclass(frozen=True)
class Stage:
    """`steps`: [points]; `losses`: [seeds, points]."""

    steps: Floats
    losses: Floats

    @property
    def mean(self) -> Floats:
        """Over the seeds, NaN where one of them is."""
        mean: Floats = self.losses.mean(axis=0)
        return mean


def curve(seeds: Sequence[Sequence[LossPoint]]) -> Curve | None:
    """Of the losses of each seed; none if there are not any. Only steps that all seeds tell of are in it."""
    told = [{(p.stage, p.step): p.terms["loss"] for p in points if "loss" in p.terms} for points in seeds]
    shared = [place for place in told[0] if all(place in other for other in told)] if told else []
    stages = []
    for _, places in groupby(shared, key=lambda place: place[0]):
        members = list(places)
        steps = np.array([step for _, step in members], dtype=np.float64)
        losses = np.array([[losses[place] for place in members] for losses in told])
        stages.append(_thinned(Stage(steps, losses)))
    return Curve(tuple(stages)) if stages else None


def _thinned(stage: Stage) -> Stage:
    """The same with at most `MOST` points."""
    parts = np.array_split(np.arange(len(stage.steps)), min(MOST, len(stage.steps)))
    losses = np.stack([stage.losses[:, part].mean(axis=1) for part in parts], axis=1)
    return Stage(np.array([stage.steps[part[-1]] for part in parts]), losses)
