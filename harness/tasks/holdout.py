"""Held-out split: a part of the training split on which epochs and options are selected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.api.errors import Problem, UserError
from harness.api.task import Splits, Task
from harness.config.schema import SelectionSpec

if TYPE_CHECKING:
    from datasets import Dataset

MIN_EXAMPLES = 100
"""Minimum number of held-out examples, unless that is more than `MAX_SHARE` of the split."""

MAX_SHARE = 0.2
"""Maximum share of the split that is held out."""

MIN_USABLE = 10
"""Minimum number of examples for a selection; a smaller held-out split is an error."""

BINS = 10
"""Number of quantile bins of a regression's labels, used as strata."""


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

    Of n examples, round(share n) are held out, but at least `MIN_EXAMPLES`, and at most `MAX_SHARE` of n. The split is
    stratified by class, to within one example (multilabel and token classification: by the rarest class of an example;
    regression: by decile of the labels). For QA, paragraphs are held out with all their questions, so there may be
    fewer examples. Both parts keep the order of the split.

    Raises:
        UserError: the split is too small.
    """
    count = held_out_size(len(splits.train), share)
    if count >= MIN_USABLE:
        held_out = (_paragraphs if task.kind == "qa" else _stratified)(task, splits.train, count, seed)
    if count < MIN_USABLE or not held_out.any():
        raise UserError(
            Problem(
                f"task {task.name!r} has {len(splits.train)} training examples, too few for a held-out split: at most"
                f" {MAX_SHARE:.0%} are held out, and at least {MIN_USABLE} are needed; remove the task, or do without"
                " selection and tuning",
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


def _stratified(task: Task, train: Dataset, count: int, seed: int) -> NDArray[np.bool_]:
    """Return a mask [n] of held-out rows, sampled from each stratum."""
    if task.kind in ("multilabel", "token_classification"):
        labels = _rarest_classes(train["label" if task.kind == "multilabel" else "tags"][:])
    else:
        labels = np.asarray(train["label"][:])
    if task.kind == "regression":
        labels = np.searchsorted(np.quantile(labels, np.arange(1, BINS) / BINS), labels, side="right")
    _, stratum = np.unique(labels, return_inverse=True)
    order = _shuffled(len(train), seed)
    held_out = np.zeros(len(train), dtype=bool)
    for index, size in enumerate(_apportion(np.bincount(stratum), count)):
        held_out[order[stratum[order] == index][:size]] = True
    return held_out


def _rarest_classes(classes: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Return the class of each example, int64 [n], that the fewest examples have; -1 for an example without classes."""
    present = [set(row) for row in classes]
    frequency = Counter(index for row in present for index in row)
    return np.array([min(row, key=lambda index: (frequency[index], index), default=-1) for row in present])


def _apportion(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Split `count` in proportion to `sizes`, by the largest-remainder method."""
    exact = count * sizes / sizes.sum()
    parts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    largest = np.argsort(-(exact - parts), kind="stable")
    parts[largest[: count - parts.sum()]] += 1
    return parts


def _paragraphs(task: Task, train: Dataset, count: int, seed: int) -> NDArray[np.bool_]:
    """Return a mask [n] of held-out rows: in random order, each paragraph whose questions still fit."""
    _, paragraph = np.unique(np.asarray(train["context"][:], dtype=object), return_inverse=True)
    questions = np.bincount(paragraph)
    remaining, chosen = count, np.zeros(len(questions), dtype=bool)
    for index in _shuffled(len(questions), seed):
        if questions[index] <= remaining:
            chosen[index] = True
            remaining -= questions[index]
    held_out: NDArray[np.bool_] = chosen[paragraph]
    return held_out


def _shuffled(count: int, seed: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64(seed)).permutation(count)
