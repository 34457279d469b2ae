"""Length and batches of each stage of a run, and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from harness.api.method import Stage
from harness.api.stage_settings import Schedule, StageData
from harness.config.method_schema import StageOverride
from harness.config.training_schema import TrainingSpec

NO_STAGES: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class StageBatches:
    """The batches of a stage: their data set, and examples per batch, or `token_budget` tokens."""

    data: StageData
    size: int | None
    token_budget: int | None

    @classmethod
    def of(cls, data: StageData, training: TrainingSpec) -> StageBatches:
        """Batches of `data` with the size that `training` sets."""
        budget = training.token_budget
        return cls(data, training.batch_size if budget is None else None, budget)


def stage_data(
    stages: Sequence[Stage], overrides: Mapping[str, StageOverride], *, augmented: bool
) -> tuple[StageData, ...]:
    """The data set that each stage trains on; without `augmented` data, the task's own."""

    def data_of(stage: Stage) -> StageData:
        override = overrides.get(stage.name)
        return (override.data if override else None) or stage.data

    return tuple(data_of(stage) if augmented else "task" for stage in stages)


def stage_training(
    stages: Sequence[Stage], overrides: Mapping[str, StageOverride], training: TrainingSpec
) -> tuple[TrainingSpec, ...]:
    """The training settings of each stage, with its batch size if it has one of its own."""
    own = [overrides.get(stage.name, StageOverride()).batch_size for stage in stages]
    return tuple(training.with_batch_size(size) for size in own)


def own_batches_per_epoch(overrides: Mapping[str, StageOverride], examples: int) -> dict[str, int]:
    """Batches in one pass over `examples`, for each stage with a batch size of its own."""
    sizes = {name: override.batch_size for name, override in overrides.items()}
    return {name: math.ceil(examples / size) for name, size in sizes.items() if size is not None}


def stage_steps(
    stages: Sequence[Stage],
    overrides: Mapping[str, StageOverride],
    *,
    epochs: float,
    batches_per_epoch: int,
    own: Mapping[str, int] = NO_STAGES,
) -> list[int]:
    """The number of steps of each stage.

    `epochs` or `steps` of the suite's override, else of the method's stage, set a stage's length. The epochs of the run
    are split among the other stages by their shares. Each gets at least one step; apart from that, rounding keeps the
    sum of stages with batches of one size.

    Args:
        stages: the stages of the method.
        overrides: the suite's settings for single stages, by stage name.
        epochs: the epochs of the run.
        batches_per_epoch: converts epochs to steps.
        own: the same for stages with a batch size of their own, by stage name.
    """
    batches = [own.get(stage.name, batches_per_epoch) for stage in stages]
    lengths = [
        _explicit_length(stage, overrides.get(stage.name), of_stage)
        for stage, of_stage in zip(stages, batches, strict=True)
    ]
    total_share = sum(stage.share for stage, length in zip(stages, lengths, strict=True) if length is None)
    steps, share = [], 0.0
    for stage, length, of_stage in zip(stages, lengths, batches, strict=True):
        if length is not None:
            steps.append(length)
            continue
        budget, before = max(1, round(epochs * of_stage)), share
        share += stage.share
        steps.append(max(1, round(budget * share / total_share) - round(budget * before / total_share)))
    return steps


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
