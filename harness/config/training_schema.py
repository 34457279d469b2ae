"""Pydantic models of `training` in a suite file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from harness.api.stage_settings import Schedule
from harness.config.setting_types import (
    Epochs,
    Gigabytes,
    Override,
    Positive,
    Rate,
    Seed,
    Tokens,
    WarmupRatio,
    WeightDecay,
)
from harness.config.strict_model import Strict

Batching = Literal["random", "grouped", "bucketed"]
"""How examples are grouped into batches; see `harness.tasks.batching`."""

Execution = Literal["sequential", "fused"]
"""How the runs of a cohort take a step; see `harness.training.step_execution`."""


class Limit(Strict):
    """Maximum number of examples, taken from a seeded shuffle. The board is marked SUBSET."""

    train: Positive | None = Field(None, description="training examples; default: all")
    validation: Positive | None = Field(None, description="scored examples; default: all")


class TaskTraining(Strict):
    """Settings of `training` that differ on one task."""

    epochs: Override[Epochs] = Field(None, description="length of training")
    batch_size: Override[Positive] = Field(None, description="also replaces the token_budget of `training`")
    token_budget: Positive | None = Field(None, description="tokens of a step at most, padding included")
    lr: Override[Rate] = Field(None, description="peak learning rate")
    max_length: Override[Tokens] = Field(None, description="truncation length in tokens")
    micro_batch_size: Positive | None = Field(None, description="examples per forward and backward pass")
    schedule: Override[Schedule] = Field(None, description="learning-rate schedule after warm-up")
    warmup_ratio: Override[WarmupRatio] = Field(None, description="warm-up steps as a share of a stage's steps")
    weight_decay: Override[WeightDecay] = Field(None, description="weight decay of AdamW")
    max_grad_norm: Annotated[float, Field(gt=0)] | None = Field(
        None, description="null: no gradient clipping on this task"
    )

    @property
    def overrides(self) -> dict[str, Any]:
        """The fields that the task sets, explicit nulls included."""
        overrides = self.model_dump(include=self.model_fields_set)
        return {"token_budget": None, **overrides} if overrides.get("batch_size") is not None else overrides


class TrainingSpec(Strict):
    """Training settings of all runs of the suite."""

    not_in_key: ClassVar[Mapping[str, str]] = {
        "max_length": "part of the key with the data",
        "precision": "part of the key under `numeric`",
        "tf32": "part of the key under `numeric`, on a GPU",
        "max_memory_gb": "how runs share memory does not change a result",
        "limit": "the fingerprints of the examples are part of the key",
        "checkpoint_every": "when checkpoints are saved does not change a result",
        "log_every": "when losses are logged does not change a result",
        "data_seed": "part of the key, resolved for each run",
        "per_task": "part of the key as resolved for the task",
    }

    epochs: Epochs = Field(3.0, description="length of a run, the same for every method; its stages share them")
    batch_size: Positive = Field(32, description="examples of a step")
    token_budget: Positive | None = Field(
        None, description="tokens of a step at most, padding included; replaces batch_size"
    )
    batching: Batching = Field(
        "random",
        description="random: random batches, padded to their longest row; grouped: the same batches, computed in groups"
        " of similar length; bucketed: batches of similar length, so other batches than random ones",
    )
    lr: Rate = Field(5e-5, description="peak learning rate")
    max_length: Tokens = Field(128, description="truncation length in tokens")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="autocast dtype of forward and backward passes"
    )
    execution: Execution = Field(
        "sequential",
        description="sequential: the students of a cohort take each step one after another; fused: students of one"
        " shape share a forward and a backward pass",
    )
    tf32: bool = Field(False, description="allow TF32 matrix products in training, on a GPU")
    micro_batch_size: Positive | None = Field(
        None,
        description="examples per forward and backward pass (gradient accumulation); default: the batch, or what fits",
    )
    max_memory_gb: Gigabytes | None = Field(
        None, description="memory limit of a cohort; default: the free memory, less a margin"
    )
    limit: Limit = Field(Limit(), description="part of the data only; the board is marked SUBSET")
    schedule: Schedule = Field("linear", description="learning-rate schedule after warm-up, in each stage")
    warmup_ratio: WarmupRatio = Field(0.1, description="warm-up steps as a share of a stage's steps")
    weight_decay: WeightDecay = Field(0.01, description="weight decay of AdamW")
    max_grad_norm: Annotated[float, Field(gt=0)] | None = Field(1.0, description="gradient clipping; null: off")
    checkpoint_every: Positive | None = Field(2000, description="steps between checkpoints; null: only on interruption")
    log_every: Positive | None = Field(
        None,
        description="steps between points of the loss curve; default: 50, or fewer in a run of less than 2,000 steps,"
        " so that its curve has about 40 points or more",
    )
    data_seed: Seed | None = Field(None, description="seed of the order of examples; default: the run's seed")
    per_task: dict[str, TaskTraining] = Field(
        default_factory=dict, description="task -> settings that differ on this task"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        by_task: dict[str, TrainingSpec] = {"": self, **{f"on {task}: ": self.on(task) for task in self.per_task}}
        for where, settings in by_task.items():
            budget, longest = settings.token_budget, settings.max_length
            if budget is not None and budget < longest:
                raise ValueError(
                    f"{where}token_budget is {budget}, less than max_length ({longest}): one example may not fit"
                )
        return self

    def on(self, task: str) -> TrainingSpec:
        """Return the settings for that task, with its `per_task` overrides applied."""
        overrides = self.per_task[task].overrides if task in self.per_task else {}
        return self.model_copy(update={**overrides, "per_task": {}})

    def with_batch_size(self, size: int | None) -> TrainingSpec:
        """Return the settings with that batch size instead of `batch_size` or `token_budget`; None: unchanged."""
        return self if size is None else self.model_copy(update={"batch_size": size, "token_budget": None})

    @property
    def max_batch_size(self) -> int:
        """Examples of a step in which every example has `max_length` tokens."""
        return self.batch_size if self.token_budget is None else -(-self.token_budget // self.max_length)
