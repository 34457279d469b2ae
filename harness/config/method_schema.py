"""Pydantic models of `methods` in a suite file: rows of the board, options and stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from harness.api.stage_settings import Schedule, StageData
from harness.config.setting_types import Epochs, Label, Override, Positive, Rate, WarmupRatio
from harness.config.strict_model import Strict


class StageOverride(Strict):
    """Length, learning rate, batch size and data of a stage. They override the method and the suite's `training`."""

    epochs: Override[Epochs] = Field(None, description="length in epochs of the training data; excludes `steps`")
    steps: Override[Positive] = Field(None, description="length in optimizer steps; excludes `epochs`")
    batch_size: Override[Positive] = Field(
        None, description="examples of a step; also replaces the token_budget of `training`"
    )
    lr: Override[Rate] = Field(None, description="peak learning rate")
    schedule: Override[Schedule] = Field(None, description="learning-rate schedule after warm-up")
    warmup_ratio: Override[WarmupRatio] = Field(None, description="warm-up steps as a share of the stage's steps")
    data: Override[StageData] = Field(None, description="the task's own training data, or the method's augmented data")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give the length of a stage as `epochs` or as `steps`, found both")
        return self

    def merged(self, other: StageOverride) -> StageOverride:
        """Return this override updated with the fields that `other` sets. `steps` replaces `epochs` and vice versa."""
        updates = other.model_dump(exclude_none=True)
        replaced = {"epochs", "steps"} if {"epochs", "steps"} & updates.keys() else None
        fields = self.model_dump(exclude=replaced, exclude_none=True)
        return StageOverride(**{**fields, **updates})

    def key_fields(self) -> dict[str, Any]:
        """All fields, as JSON values. Keys of older versions, which had no `batch_size`, stay valid."""
        fields = super().key_fields()
        if self.batch_size is None:
            del fields["batch_size"]
        return fields


class MethodOnTask(Strict):
    """Options and stages of an entry of `methods` that differ on one task."""

    stages: dict[str, StageOverride] = Field(
        default_factory=dict, description="stage -> length, learning rate, batch size and data"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="options of the method: the fields of its Config")


class MethodSpec(Strict):
    """One entry of `methods`: the reserved keys, and the options of the method."""

    not_in_key: ClassVar[Mapping[str, str]] = {
        "name": "part of the key with the method and its version",
        "label": "a name on the board",
        "grid": "each combination is a row with options of its own",
        "stages": "part of the key as resolved for the task",
        "per_task": "part of the key as resolved for the task",
        "students": "selects rows",
        "teachers": "the keys of the teachers are part of the key",
        "general": "the key of the text stage is part of the key",
        "options": "part of the key as the validated Config",
    }

    name: str
    label: Label | None = Field(None, description="name on the board; default: the method's name")
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict, min_length=1, description="option -> values; one row per combination"
    )
    stages: dict[str, StageOverride] = Field(
        default_factory=dict, description="stage -> length, learning rate, batch size and data"
    )
    per_task: dict[str, MethodOnTask] = Field(
        default_factory=dict, description="task -> options and stages that differ on this task"
    )
    students: Annotated[list[str], Field(min_length=1)] | None = Field(None, description="default: all")
    teachers: list[str] | None = Field(
        None, description="default: as many as the method takes, in the order of the suite, without those that are rows"
    )
    general: bool | None = Field(
        None, description="start with the text stage of the method; default: if the suite and the method have one"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="options of the method: the fields of its Config")


RESERVED = frozenset(MethodSpec.model_fields) - {"name", "options"}
"""Keys of an entry of `methods` that cannot be names of options."""
