"""Held-out split: a part of the training split on which epochs and options are selected."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError
from harness.api.task import Splits, Task
from harness.config.selection_schema import SelectionSpec

if TYPE_CHECKING:
    from datasets import Dataset

MIN_EXAMPLES = 100
"""Minimum number of held-out examples, unless that is more than `MAX_SHARE` of the split."""

MAX_SHARE = 0.2
"""Maximum share of the split that is held out."""

MIN_USABLE = 10
"""Minimum number of examples for a selection; a smaller held-out split is an error."""


def hold_out(task: Task, splits: Splits, spec: SelectionSpec | None) -> Splits:
    """Return the splits with a held-out split if the suite selects on the training split; else unchanged.

    Raises:
        UserError: the training split is too small, or the suite selects on validation splits whose labels are hidden.
    """
    if spec is None:
        return splits
    if spec.on == "train":
        return split_training(task, splits, share=spec.share, seed=spec.seed)
    for name, split in splits.validation.items():
        if has_hidden_labels(task, split):
            raise UserError(
                Problem(
                    f"task {task.name!r}: the labels of split {name!r} are hidden, so it cannot be used for selection;"
                    " select on train, or remove the task",
                    "selection",
                )
            )
    return splits


def has_hidden_labels(task: Task, split: Dataset) -> bool:
    """Whether the labels of a validation split are hidden, that is -1; only kinds with classes can hide them."""
    if task.kind == "classification":
        return bool(min(split["label"], default=0) < 0)
    if task.kind == "multilabel":
        return any(label == [-1] for label in split["label"])
    return task.kind == "token_classification" and any(-1 in tags for tags in split["tags"])


def split_training(task: Task, splits: Splits, *, share: float, seed: int) -> Splits:
    """Move a part of the training split to the held-out split. Depends on the split, `share` and `seed` alone.

    Of n examples, round(share n) are held out, but at least `MIN_EXAMPLES`, and at most `MAX_SHARE` of n. How they are
    sampled, and why there may be fewer: see `harness.tasks.row_sampling`. Both parts keep the order of the split.

    Raises:
        UserError: the split is too small.
    """
    import numpy as np

    from harness.tasks.row_sampling import held_out_rows

    held_out = held_out_rows(task.kind, splits.train, held_out_size(len(splits.train), share), seed)
    if held_out.sum() < MIN_USABLE:
        raise UserError(
            Problem(
                f"task {task.name!r} has {len(splits.train)} training examples, too few for a held-out split: at most"
                f" {MAX_SHARE:.0%} are held out, and at least {MIN_USABLE} are needed, without the only examples of"
                " classes and with all rows of a group or context; add examples, remove the task,"
                " or do without selection and tuning",
                "selection",
            )
        )
    train = splits.train
    return replace(
        splits, train=train.select(np.flatnonzero(~held_out)), selection=train.select(np.flatnonzero(held_out))
    )


def held_out_size(examples: int, share: float) -> int:
    """Return the number of held-out examples of a split of `examples`."""
    return min(max(round(share * examples), MIN_EXAMPLES), int(MAX_SHARE * examples))
