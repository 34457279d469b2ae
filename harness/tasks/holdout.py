"""The part of a training split on which something is chosen, held out from all that is trained on the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.api.errors import Problem, UserError
from harness.api.task import Splits, Task
from harness.config.schema import SelectionSpec

if TYPE_CHECKING:
    from datasets import Dataset

LEAST = 100
"""Examples that are held out at least, whatever their share, if that is not too much of the split."""

MOST = 0.2
"""Of the split, at most."""

FEWEST = 10
"""Examples on which nothing can be chosen any more."""

BINS = 10
"""Of a regression's labels, equally full: what stands for classes."""


def hold_out(task: Task, splits: Splits, spec: SelectionSpec | None) -> Splits:
    """The splits as a suite's `spec` asks for them: as they are, or with a part of the training split held out.

    Raises:
        UserError: the training split is too small, or labels are hidden that are to be chosen on.
    """
    if spec is None:
        return splits
    if spec.on == "train":
        return cut(task, splits, share=spec.share, seed=spec.seed)
    for name, part in splits.validation.items():
        if task.kind == "classification" and min(part["label"], default=0) < 0:
            raise UserError(
                Problem(
                    f"task {task.name!r} hides the labels of its split {name}: nothing can be chosen on it; choose on"
                    " train, or take the task out",
                    "selection",
                )
            )
    return splits


def cut(task: Task, splits: Splits, *, share: float, seed: int) -> Splits:
    """Hold a part of the training split out: a function of the split, `share` and `seed` alone.

    Of the n examples it is round(share n), but at least `LEAST`, and at most `MOST` of n. Of every class (regression:
    of every tenth of the labels) it has its part, to within one example. Of QA it has whole paragraphs, with all their
    questions, which may make it a little smaller. Both parts keep the order of the split.

    Raises:
        UserError: the split is too small.
    """
    count = size(len(splits.train), share)
    if count >= FEWEST:
        held = (_paragraphs if task.kind == "qa" else _stratified)(task, splits.train, count, seed)
    if count < FEWEST or not held.any():
        raise UserError(
            Problem(
                f"task {task.name!r} has {len(splits.train)} training examples, too few to hold some out to choose on:"
                f" at most {MOST:.0%} are, and fewer than {FEWEST} say nothing; take the task out, or choose nothing",
                "selection",
            )
        )
    train = splits.train
    return replace(splits, train=train.select(np.flatnonzero(~held)), selection=train.select(np.flatnonzero(held)))


def size(examples: int, share: float) -> int:
    """How many of a split's examples are held out."""
    return min(max(round(share * examples), LEAST), int(MOST * examples))


def _stratified(task: Task, train: Dataset, count: int, seed: int) -> NDArray[np.bool_]:
    """Which rows, drawn from each stratum by itself."""
    labels = np.asarray(train["label"][:])
    if task.kind == "regression":
        labels = np.searchsorted(np.quantile(labels, np.arange(1, BINS) / BINS), labels, side="right")
    _, stratum = np.unique(labels, return_inverse=True)
    order = _shuffled(len(train), seed)
    held = np.zeros(len(train), dtype=bool)
    for each, part in enumerate(_parts(np.bincount(stratum), count)):
        held[order[stratum[order] == each][:part]] = True
    return held


def _parts(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`count`, split in proportion to `sizes`: what is left over by rounding down goes to the largest fractions."""
    exact = count * sizes / sizes.sum()
    parts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    largest = np.argsort(-(exact - parts), kind="stable")
    parts[largest[: count - parts.sum()]] += 1
    return parts


def _paragraphs(task: Task, train: Dataset, count: int, seed: int) -> NDArray[np.bool_]:
    """Which rows: of the paragraphs in random order all that still fit."""
    _, paragraph = np.unique(np.asarray(train["context"][:], dtype=object), return_inverse=True)
    questions = np.bincount(paragraph)
    left, chosen = count, np.zeros(len(questions), dtype=bool)
    for each in _shuffled(len(questions), seed):
        if questions[each] <= left:
            chosen[each] = True
            left -= questions[each]
    held: NDArray[np.bool_] = chosen[paragraph]
    return held


def _shuffled(count: int, seed: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64(seed)).permutation(count)
