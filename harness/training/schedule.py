"""Length and training data of each stage of a run, and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.api.method import Stage
from harness.api.stage_settings import Schedule, StageData
from harness.config.method_schema import StageOverride


def stage_steps(
    stages: Sequence[Stage], overrides: Mapping[str, StageOverride], *, epochs: float, batches_per_epoch: int
) -> list[int]:
    """The number of steps of each stage.

    `epochs` or `steps` of the suite's override, else of the method's stage, set a stage's length. The steps of the run
    are split among the other stages by their shares. Each gets at least one step; apart from that, rounding keeps the
    sum.
    """
    lengths = [_explicit_length(stage, overrides.get(stage.name), batches_per_epoch) for stage in stages]
    budget = max(1, round(epochs * batches_per_epoch))
    total_share = sum(stage.share for stage, length in zip(stages, lengths, strict=True) if length is None)
    steps, share, assigned = [], 0.0, 0
    for stage, length in zip(stages, lengths, strict=True):
        if length is not None:
            steps.append(length)
            continue
        share += stage.share
        until = round(budget * share / total_share)
        steps.append(max(1, until - assigned))
        assigned = max(until, assigned)
    return steps


def stage_data(
    stages: Sequence[Stage], overrides: Mapping[str, StageOverride], *, augmented: bool
) -> tuple[StageData, ...]:
    """The data set that each stage trains on; without `augmented` data, the task's own."""

    def data_of(stage: Stage) -> StageData:
        override = overrides.get(stage.name)
        return (override.data if override else None) or stage.data

    return tuple(data_of(stage) if augmented else "task" for stage in stages)


def _explicit_length(stage: Stage, override: StageOverride | None, batches_per_epoch: int) -> int | None:
    for steps, epochs in ((override.steps, override.epochs) if override else (None, None), (stage.steps, stage.epochs)):
        if steps is not None:
            return steps
        if epochs is not None:
            return max(1, round(epochs * batches_per_epoch))
    return None


def learning_rate(peak: float, step: int, steps: int, warmup_ratio: float, schedule: Schedule = "linear") -> float:
    """The learning rate of step `step` (from 0): linear warm-up over `warmup_ratio` of the steps, then `schedule`.

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
