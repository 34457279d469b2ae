"""Pydantic models of `teachers` and `teacher_cache` in a suite file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from harness.config.setting_types import LARGEST_NUMBER, Epochs, Label, Layers, Positive, Rate, Seed, Size, Tokens
from harness.config.strict_model import Strict

FINE_TUNING = ("epochs", "lr", "batch_size", "seed", "seeds")
"""Keys of a teacher that are settings of its fine-tuning."""

OF_A_ROW = ("row", "student", "seed")
"""Keys of a teacher that is a row of the suite."""


def _class_name(value: Any) -> Any:
    """Return a number or boolean as text, as YAML reads the names of classes such as 1 or true."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


LabelNames = Annotated[list[Annotated[str, BeforeValidator(_class_name)]], Field(min_length=1)]


class Architecture(Strict):
    """A randomly initialized BERT encoder."""

    layers: Layers = Field(description="number of Transformer layers")
    hidden: Size = Field(description="hidden size, a multiple of `heads`")
    heads: Size = Field(description="attention heads of a layer")
    ffn: Size = Field(description="width of the feed-forward part of a layer")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="dropout in training, also of its students")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"hidden ({self.hidden}) must be a multiple of heads, found {self.heads} heads")
        return self


class TeacherSpec(Strict):
    """A teacher: fine-tuned on every task, or before, or a student of the suite (a teacher assistant).

    Exactly one of `model`, `architecture` and `row` is set.
    """

    not_in_key: ClassVar[Mapping[str, str]] = {
        "model": "the fingerprint of the checkpoint is part of the key",
        "architecture": "part of the key as `model`",
        "row": "the key of a teacher that is a row is the key of its run",
        "student": "the key of a teacher that is a row is the key of its run",
        "epochs": "part of the teacher's training settings",
        "lr": "part of the teacher's training settings",
        "batch_size": "part of the teacher's training settings",
        "max_length": "part of the key with the data",
        "seeds": "each teacher's own `seed` is part of its key",
        "floor": "checked against the score; does not change it",
        "finetune": "a teacher that is not fine-tuned has a key of other parts",
        "labels": "part of the key as the order of the checkpoint's classes",
    }

    model: str | None = Field(
        None, description="hub id or local folder of a pretrained encoder, or of a fine-tuned model (`finetune: false`)"
    )
    architecture: Architecture | None = Field(None, description="an encoder to train from scratch")
    row: Label | None = Field(
        None, description="label of a row of the suite: its trained student is this teacher (a teacher assistant)"
    )
    student: str | None = Field(None, description="with `row`: which student of the row; default: its only one")
    epochs: Epochs = Field(3.0, description="length of its fine-tuning")
    lr: Rate = Field(2e-5, description="peak learning rate of its fine-tuning")
    batch_size: Positive | None = Field(None, description="default: training.batch_size")
    max_length: Tokens | None = Field(None, description="default: training.max_length")
    seed: Seed = Field(
        1, description="seed of its head, dropout and order of examples; with `row`: the run to learn from"
    )
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = Field(
        None, description="fine-tune one teacher per seed of the suite, in the same order; default: one, with `seed`"
    )
    floor: dict[str, float] = Field(
        default_factory=dict, description="task -> minimum score (maximum, if less is better)"
    )
    finetune: bool = Field(
        True, description="false: `model` is fine-tuned already; it is scored and used with its own head, not trained"
    )
    labels: LabelNames | dict[str, LabelNames] | None = Field(
        None,
        description="with `finetune: false`: names of the task's classes in the order of the checkpoint's outputs, or"
        " task -> names; default: classes match by the names in config.json",
    )

    def labels_on(self, task: str) -> list[str] | None:
        """The stated class names on a task, in the order of the checkpoint's outputs; None: not stated."""
        return self.labels.get(task) if isinstance(self.labels, dict) else self.labels

    @property
    def is_trained(self) -> bool:
        """Whether it is fine-tuned as a teacher: neither fine-tuned before nor a row of the suite."""
        return self.finetune and self.row is None

    @property
    def per_seed(self) -> list[TeacherSpec]:
        """One specification per teacher to fine-tune, each with its own `seed`."""
        return [self.model_copy(update={"seed": seed, "seeds": None}) for seed in self.seeds or [self.seed]]

    @model_validator(mode="after")
    def _check_seeds(self) -> Self:
        if self.seeds is not None and "seed" in self.model_fields_set:
            raise ValueError("give `seed` (one teacher for all runs) or `seeds` (one teacher per run), found both")
        return self

    @model_validator(mode="after")
    def _check_finetune(self) -> Self:
        if self.finetune:
            if self.labels is not None:
                raise ValueError("`labels` states the classes of a checkpoint with `finetune: false`; remove `labels`")
            return self
        if self.architecture is not None:
            raise ValueError("`finetune: false` needs a fine-tuned `model`; an architecture has random weights")
        if unused := [name for name in FINE_TUNING if name in self.model_fields_set]:
            raise ValueError(
                f"with `finetune: false` the teacher is not trained, so {', '.join(unused)} would have no effect;"
                f" remove {'it' if len(unused) == 1 else 'them'}, or remove `finetune: false`"
            )
        return self

    @model_validator(mode="after")
    def _check_row(self) -> Self:
        if self.row is None:
            if self.student is not None:
                raise ValueError("`student` names a student of the row in `row`; add `row`, or remove `student`")
            return self
        if unused := [name for name in self.model_fields_set if name not in OF_A_ROW]:
            names = ", ".join(sorted(unused))
            raise ValueError(
                f"a teacher that is a row of the suite has the settings of the row, so {names} cannot be set; give"
                " only `row`, `student` and `seed`"
            )
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        origins = [name for name in ("model", "architecture", "row") if getattr(self, name) is not None]
        if len(origins) != 1:
            raise ValueError(
                f"give exactly one of `model`, `architecture` and `row`, found {' and '.join(origins) or 'none'}"
            )
        return self


class TeacherCacheSpec(Strict):
    """Disk limit of cached teacher outputs; 0 turns the cache off."""

    not_in_key: ClassVar[Mapping[str, str]] = {
        "max_gb": "whether a run reads cached teacher outputs is part of its key under `numeric`"
    }

    max_gb: Annotated[float, Field(ge=0, le=LARGEST_NUMBER)] = Field(
        50.0, description="gigabytes of cached outputs on disk at most; 0: no cache"
    )
