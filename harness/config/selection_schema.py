"""Pydantic models of `selection` and `tuning` in a suite file: what is chosen on held-out examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from harness.config.setting_types import Positive, Rate, Seed
from harness.config.strict_model import Strict


class SelectionSpec(Strict):
    """Examples on which the best epoch or tuned options are chosen. A string is short for `{on: ...}`."""

    not_in_key: ClassVar[Mapping[str, str]] = {
        "on": "the fingerprint of the examples is part of the key",
        "share": "the fingerprint of the examples is part of the key",
        "seed": "the fingerprint of the examples is part of the key",
    }

    on: Literal["train", "validation"] = Field(
        "train", description="a held-out part of the training split, or the validation split of the board"
    )
    share: Annotated[float, Field(gt=0, le=0.2)] = Field(
        0.1, description="held-out share of the full training split; at least 100 examples, at most a fifth"
    )
    seed: Seed = Field(1, description="seed of the held-out split")
    epoch: Literal["best", "last"] = Field("best", description="which epoch of the last stage a run keeps")

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: object) -> object:
        return {"on": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        unused = self.model_fields_set & {"share", "seed"}
        if self.on == "validation" and unused:
            keys = " and ".join(sorted(unused))
            raise ValueError(f"`on: validation` holds nothing out; remove {keys}")
        return self


class TuningSpec(Strict):
    """Hyperparameter search over the options of methods, on a held-out part of the training split."""

    not_in_key: ClassVar[Mapping[str, str]] = {
        "lr": "part of the key with the search space",
        "batch_size": "part of the key with the search space",
    }

    trials: Annotated[int, Field(ge=2)] = Field(
        description="trials per row of the board, task and student; the first trial uses the defaults"
    )
    seed: Seed = Field(1, description="seed of the trials' runs and of the sampler")
    lr: list[Rate] | Literal["auto"] | None = Field(
        "auto", description="lowest and highest peak rate; auto: training.lr / 4 to training.lr * 4; null: not tuned"
    )
    batch_size: list[Positive] | None = Field(
        None, description="batch sizes to try, one of which is training.batch_size; default: not tuned"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.lr, list) and (len(self.lr) != 2 or self.lr[0] >= self.lr[1]):
            raise ValueError(f"lr: expected two rates, the lowest and the highest, found {self.lr}")
        if self.batch_size is not None and not len(self.batch_size) == len(set(self.batch_size)) >= 2:
            raise ValueError(f"batch_size: expected two or more distinct sizes, found {self.batch_size}")
        return self

    def lr_range(self, default_lr: float) -> tuple[float, float] | None:
        """Return the lowest and highest learning rate to try, or None if it is not tuned.

        `default_lr` is the learning rate without tuning.
        """
        if self.lr == "auto":
            return default_lr / 4, min(1.0, default_lr * 4)
        return (self.lr[0], self.lr[1]) if self.lr is not None else None
