"""Metrics computed on many bootstrap resamples of the examples at once.

In a resample each example has a count. Most metrics are a function of sums over the examples: `SumMetric`. Spearman's
correlation is not, because a rank depends on all examples: `SpearmanMetric`. If every count is 1, the result equals
that of the registered metric of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.analysis.prediction_tables import Predictions
from harness.analysis.student_t import Floats
from harness.metrics.squad_matching import match, match_or_none

CHUNK = 128
"""Resamples that `SpearmanMetric` holds in memory at once."""

Match = Callable[[str, Sequence[str]], tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Resamples:
    """How often examples count: `counts` [resamples, blocks] is of whole blocks, `block` [examples] says of which."""

    counts: Floats
    block: NDArray[np.intp]

    def sums(self, parts: Floats) -> Floats:
        """[examples, k] -> [resamples, k]."""
        order = np.argsort(self.block, kind="stable")
        starts = np.searchsorted(self.block[order], np.arange(self.counts.shape[1]))
        return self.counts @ np.add.reduceat(parts[order], starts, axis=0)


class ResampledMetric(Protocol):
    """A metric of resamples; `lowest` is the least score there can be, 0 of a share and -1 of a correlation."""

    @property
    def lowest(self) -> float: ...

    def scores(self, runs: Sequence[Predictions], resamples: Resamples) -> Floats:
        """[resamples, runs], of runs that answered the same examples."""


@dataclass(frozen=True)
class SumMetric:
    """`value` computes the metric of sums [..., k] over the examples, `parts` gives what each example adds: [N, k]."""

    parts: Callable[[Predictions], Floats]
    value: Callable[[Floats], Floats]
    lowest: float = 0.0

    def scores(self, runs: Sequence[Predictions], resamples: Resamples) -> Floats:
        parts = [self.parts(run) for run in runs]
        sums = resamples.sums(np.concatenate(parts, axis=1))
        widths = np.cumsum([part.shape[1] for part in parts])
        return np.stack([self.value(one) for one in np.split(sums, widths[:-1], axis=1)], axis=1)


@dataclass(frozen=True)
class SpearmanMetric:
    """Spearman's correlation: Pearson's of ranks, ties at the mean of their ranks."""

    lowest: float = -1.0

    def scores(self, runs: Sequence[Predictions], resamples: Resamples) -> Floats:
        columns = [np.asarray(run.predictions, dtype=float) for run in runs]
        labels = np.asarray(runs[0].labels, dtype=float)
        found = np.empty((len(resamples.counts), len(runs)))
        for first in range(0, len(found), CHUNK):
            counts = resamples.counts[first : first + CHUNK, resamples.block]
            right = _centred_ranks(labels, counts)
            for place, column in enumerate(columns):
                left = _centred_ranks(column, counts)
                found[first : first + CHUNK, place] = _ratio(
                    (counts * left * right).sum(1), (counts * left**2).sum(1), (counts * right**2).sum(1)
                )
        return found


def _centred_ranks(values: Floats, counts: Floats) -> Floats:
    """[resamples, N]: the rank of each example among those that are there, less the mean rank."""
    _, codes = np.unique(values, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    tied = np.add.reduceat(counts[:, order], np.searchsorted(codes[order], np.arange(codes.max() + 1)), axis=1)
    ranks = np.cumsum(tied, axis=1) - (tied - 1) / 2
    centred: Floats = ranks[:, codes] - (counts.sum(1, keepdims=True) + 1) / 2
    return centred


def _ratio(product: Floats, left: Floats, right: Floats) -> Floats:
    """A correlation; 0 where one side is constant."""
    scale = np.sqrt(np.maximum(left, 0) * np.maximum(right, 0))
    found: Floats = np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)
    return found.clip(-1, 1)


def _classes(answers: Predictions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.asarray(answers.predictions, dtype=np.int64), np.asarray(answers.labels, dtype=np.int64)


def _accuracy_parts(answers: Predictions) -> Floats:
    predicted, actual = _classes(answers)
    return np.stack([predicted == actual, np.ones(len(actual))], axis=1).astype(float)


def _mean(sums: Floats) -> Floats:
    """Of sums and how many were summed; 0 of none."""
    return np.divide(sums[..., 0], sums[..., 1], out=np.zeros(sums.shape[:-1]), where=sums[..., 1] > 0)


def _f1_parts(answers: Predictions) -> Floats:
    predicted, actual = (classes == 1 for classes in _classes(answers))
    return np.stack([2.0 * (predicted & actual), predicted * 1.0 + actual], axis=1)


def _matthews_parts(answers: Predictions) -> Floats:
    """Right, all, and one-hot vectors of both."""
    predicted, actual = _classes(answers)
    count = int(max(predicted.max(), actual.max())) + 1
    one_hot = np.eye(count)
    right = np.stack([predicted == actual, np.ones(len(actual))], axis=1)
    return np.concatenate([right, one_hot[predicted], one_hot[actual]], axis=1)


def _matthews(sums: Floats) -> Floats:
    """Of classes from counts: Gorodkin, 2004, as the correlation of one-hot vectors."""
    right, total = sums[..., 0], sums[..., 1]
    predicted, actual = np.split(sums[..., 2:], 2, axis=-1)
    return _ratio(
        right * total - (predicted * actual).sum(-1),
        total**2 - (predicted**2).sum(-1),
        total**2 - (actual**2).sum(-1),
    )


def _pearson_parts(answers: Predictions) -> Floats:
    """Moments of values that are brought to mean 0 and spread 1 first, which keeps sums of squares exact enough."""
    columns = [np.asarray(values, dtype=float) for values in (answers.predictions, answers.labels)]
    x, y = ((column - column.mean()) / (column.std() or 1.0) for column in columns)
    return np.stack([np.ones(len(x)), x, y, x * y, x * x, y * y], axis=1)


def _pearson(sums: Floats) -> Floats:
    n, x, y, xy, xx, yy = np.moveaxis(sums, -1, 0)
    left, right = xx - x * x / n, yy - y * y / n
    least = 1e-12 * n  # less is what rounding leaves of a constant
    return _ratio(xy - x * y / n, np.where(left > least, left, 0), np.where(right > least, right, 0))


def _squad(index: int, how: Match, answerable: bool | None = None) -> SumMetric:
    """SQuAD's metric `index` (exact, F1) in percent: of all questions, or of those with an answer, or of the others."""

    @cache
    def score(text: str, right: tuple[str, ...]) -> float:
        """Kept, as many runs give the same answers."""
        return 100 * how(text, right)[index]

    def parts(answers: Predictions) -> Floats:
        pairs = [(text, tuple(right)) for text, right in zip(answers.predictions, answers.labels, strict=True)]
        counted = [answerable in (None, bool(right)) for _, right in pairs]
        rows = [(score(*pair), 1.0) if counts else (0.0, 0.0) for pair, counts in zip(pairs, counted, strict=True)]
        return np.array(rows)

    return SumMetric(parts, _mean)


RESAMPLED_METRICS: Mapping[tuple[str, str], Sequence[ResampledMetric]] = {
    ("classification", "accuracy"): [SumMetric(_accuracy_parts, _mean)],
    ("classification", "f1"): [SumMetric(_f1_parts, _mean)],
    ("classification", "matthews_correlation"): [SumMetric(_matthews_parts, _matthews, lowest=-1.0)],
    ("regression", "pearson"): [SumMetric(_pearson_parts, _pearson, lowest=-1.0)],
    ("regression", "spearmanr"): [SpearmanMetric()],
    **{
        ("qa", f"{prefix}{name}"): [_squad(index, how, answerable) for how in ways]
        for index, name in enumerate(("exact", "f1"))
        for prefix, answerable, ways in (
            ("", None, (match, match_or_none)),
            ("HasAns_", True, (match_or_none,)),
            ("NoAns_", False, (match_or_none,)),
        )
    },
}
"""(kind of task, score) -> the forms that it may have; the one that gives the records' scores is it."""
