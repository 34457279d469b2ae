"""Plan the stages of a run: their training settings, and estimates of their lengths."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from harness.api.method import Stage
from harness.config.training_schema import TrainingSpec
from harness.planning.jobs import RunJob
from harness.training.schedule import own_batches_per_epoch, stage_steps


@dataclass(frozen=True)
class PlannedStage:
    """A stage of a planned run.

    Its length is an estimate: QA counts one window per question, and with a token budget every example counts as
    `max_length` tokens.

    Attributes:
        stage: the stage of the method.
        training: the settings of the stage.
        steps: optimizer steps.
        epochs: passes over the task's own examples.
    """

    stage: Stage
    training: TrainingSpec
    steps: int
    epochs: Fraction


def planned_stages(job: RunJob) -> list[PlannedStage]:
    """Return the stages of a run, in order."""
    examples, overrides = job.data.train_examples, job.cell.variant.stages
    lengths = stage_steps(
        job.stages,
        overrides,
        epochs=job.training.epochs,
        batches_per_epoch=_batches(examples, job.training),
        own=own_batches_per_epoch(overrides, examples),
    )
    return [
        PlannedStage(stage, training, steps, Fraction(steps, _batches(examples, training)))
        for stage, training, steps in zip(job.stages, job.stage_training, lengths, strict=True)
    ]


def _batches(examples: int, training: TrainingSpec) -> int:
    return math.ceil(examples / training.max_batch_size)
