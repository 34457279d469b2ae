"""Pydantic model of `general` in a suite file: distillation on unlabelled text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from harness.api.stage_settings import Schedule
from harness.config.setting_types import Positive, Rate, Seed, Tokens, WarmupRatio
from harness.config.strict_model import Strict


class GeneralSpec(Strict):
    """The text stage: distillation on unlabelled text, once per student, before all tasks."""

    not_in_key: ClassVar[Mapping[str, str]] = {
        "data": "the fingerprint of the text is part of the key",
        "name": "the fingerprint of the text is part of the key",
        "split": "the fingerprint of the text is part of the key",
        "column": "the fingerprint of the text is part of the key",
        "steps": "part of the stage's training settings",
        "batch_size": "part of the stage's training settings",
        "lr": "part of the stage's training settings",
        "schedule": "part of the stage's training settings",
        "warmup_ratio": "part of the stage's training settings",
        "max_length": "part of the key with the data",
    }

    data: str = Field(description="hub id, local folder in the hub's layout, or .txt file (one text a line); * allowed")
    name: str | None = Field(None, description="the data set's configuration")
    split: str = Field("train", description="split of the data set")
    column: str = Field("text", description="column of the texts")
    steps: Positive = Field(description="optimizer steps")
    batch_size: Positive = Field(32, description="texts of a step")
    lr: Rate = Field(1e-4, description="peak learning rate")
    schedule: Schedule | None = Field(None, description="learning-rate schedule; default: training.schedule")
    warmup_ratio: WarmupRatio | None = Field(None, description="default: training.warmup_ratio")
    max_length: Tokens = Field(128, description="tokens of a row; a longer text is split into several rows")
    seed: Seed = Field(1, description="seed of the order of texts, the initial weights and the masks")
