"""How long each stage of a run is, what it trains on, and its learning rate at each step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.api.method import Stage
from harness.api.stage_settings import Schedule, StageData
from harness.config.schema import StageOverride


def stage_steps(
    stages: Sequence[Stage], overrides: Mapping[str, StageOverride], *, epochs: float, batches_per_epoch: int
) -> list[int]:
    """Steps of each stage.

    A stage with a length of its own (the suite's, else the method's) has that. The run's steps are split among the
    others by their shares, at least one step each; rounding never changes their sum, unless one would get none.
    """
    lengths = [_own_length(stage, overrides.get(stage.name), batches_per_epoch) for stage in stages]
    budget = max(1, round(epochs * batches_per_epoch))
    total_share = sum(stage.share for stage, own in zip(stages, lengths, strict=True) if own is None)
    steps, share, given = [], 0.0, 0
    for stage, own in zip(stages, lengths, strict=True):
        if own is not None:
            steps.append(own)
            continue
        share += stage.share
        until = round(budget * share / total_share)
        steps.append(max(1, until - given))
        given = max(until, given)
    return steps


def stage_data(
    stages: Sequence[Stage], overrides: Mapping[str, StageOverride], *, augmented: bool
) -> tuple[StageData, ...]:
    """What each stage trains on. Without augmented data that is the task's own."""

    def of(stage: Stage) -> StageData:
        override = overrides.get(stage.name)
        return (override.data if override else None) or stage.data

    return tuple(of(stage) if augmented else "task" for stage in stages)


def _own_length(stage: Stage, override: StageOverride | None, batches_per_epoch: int) -> int | None:
    for steps, epochs in ((override.steps, override.epochs) if override else (None, None), (stage.steps, stage.epochs)):
        if steps is not None:
            return steps
        if epochs is not None:
            return max(1, round(epochs * batches_per_epoch))
    return None


def learning_rate(peak: float, step: int, steps: int, warmup_ratio: float, schedule: Schedule = "linear") -> float:
    """Of step `step` (from 0) of a stage: linear warm-up over that share of its steps, then `schedule`.

    ``linear`` and ``cosine`` decay to 0 after the last step, ``constant`` keeps the peak.
    """
    warm = int(warmup_ratio * steps)
    if step < warm:
        return peak * (step + 1) / (warm + 1)
    if schedule == "constant":
        return peak
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
    return peak * (steps - step) / max(1, steps - warm)
