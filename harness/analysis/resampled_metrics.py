"""Metrics computed on many bootstrap resamples of the examples at once.

In a resample each example has a count. Most metrics are a function of sums over the examples: `SumMetric`. Spearman's
correlation is not, because a rank depends on all examples: `SpearmanMetric`. If every count is 1, the result equals
that of the registered metric of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, repeat
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.analysis.prediction_tables import Predictions
from harness.analysis.student_t import Floats
from harness.metrics.entity_spans import entity_counts
from harness.metrics.squad_matching import match, match_v2

CHUNK = 128
"""Number of resamples that `SpearmanMetric` computes at once, to bound memory."""

RUNS, COLUMNS = 64, 1024
"""Maximum numbers of runs, and of their parts together, that `SumMetric` sums at once, to bound memory."""

Match = Callable[[str, Sequence[str]], tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Resamples:
    """Resamples of blocks of examples.

    Attributes:
        counts: [resamples, blocks], how often each block was drawn.
        block: [examples], the index of the block of each example.
    """

    counts: Floats
    block: NDArray[np.intp]

    def sums(self, parts: Floats) -> Floats:
        """[examples, k] -> [resamples, k]: sums over the examples of each resample."""
        order = np.argsort(self.block, kind="stable")
        starts = np.searchsorted(self.block[order], np.arange(self.counts.shape[1]))
        return self.counts @ np.add.reduceat(parts[order], starts, axis=0)


def _sums_of_distinct(resamples: Resamples, parts: Floats) -> Floats:
    """`Resamples.sums`, with equal columns summed once: parts of the labels are the same for all runs."""
    known: dict[bytes, int] = {}
    places = [known.setdefault(column.tobytes(), len(known)) for column in parts.T]
    _, first = np.unique(places, return_index=True)
    sums: Floats = resamples.sums(parts[:, first])[:, places]
    return sums


class ResampledMetric(Protocol):
    """A metric that can be computed on resamples.

    Attributes:
        lowest: its least value, 0 for a share, -1 for a correlation; None for an error, which has no greatest value.
    """

    @property
    def lowest(self) -> float | None: ...

    def scores(self, runs: Sequence[Predictions], resamples: Resamples) -> Floats:
        """[resamples, runs]: scores of runs with predictions on the same examples."""


@dataclass(frozen=True)
class SumMetric:
    """A metric that is a function of sums over the examples.

    Attributes:
        parts: predictions -> [examples, k], the summands of each example.
        value: sums [..., k] -> the metric [...].
    """

    parts: Callable[[Predictions], Floats]
    value: Callable[[Floats], Floats]
    lowest: float | None = 0.0

    def scores(self, runs: Sequence[Predictions], resamples: Resamples) -> Floats:
        scores = np.empty((len(resamples.counts), len(runs)))
        at_once = max(1, min(RUNS, COLUMNS // self.parts(runs[0]).shape[1]))
        for first in range(0, len(runs), at_once):
            parts = [self.parts(run) for run in runs[first : first + at_once]]
            sums = _sums_of_distinct(resamples, np.concatenate(parts, axis=1))
            ends = np.cumsum([part.shape[1] for part in parts])
            for run, run_sums in enumerate(np.split(sums, ends[:-1], axis=1), start=first):
                scores[:, run] = self.value(run_sums)
        return scores


@dataclass(frozen=True)
class SpearmanMetric:
    """Spearman's correlation: Pearson's correlation of ranks; ties share their mean rank."""

    lowest: float | None = -1.0

    def scores(self, runs: Sequence[Predictions], resamples: Resamples) -> Floats:
        columns = [np.asarray(run.predictions, dtype=float) for run in runs]
        labels = np.asarray(runs[0].labels, dtype=float)
        scores = np.empty((len(resamples.counts), len(runs)))
        for first in range(0, len(scores), CHUNK):
            counts = resamples.counts[first : first + CHUNK, resamples.block]
            right = _centred_ranks(labels, counts)
            for run, column in enumerate(columns):
                left = _centred_ranks(column, counts)
                scores[first : first + CHUNK, run] = _ratio(
                    (counts * left * right).sum(1), (counts * left**2).sum(1), (counts * right**2).sum(1)
                )
        return scores


def _centred_ranks(values: Floats, counts: Floats) -> Floats:
    """[resamples, N]: the rank of each example within its resample, minus the mean rank."""
    _, codes = np.unique(values, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    tied = np.add.reduceat(counts[:, order], np.searchsorted(codes[order], np.arange(codes.max() + 1)), axis=1)
    ranks = np.cumsum(tied, axis=1) - (tied - 1) / 2
    centred: Floats = ranks[:, codes] - (counts.sum(1, keepdims=True) + 1) / 2
    return centred


def _ratio(product: Floats, left: Floats, right: Floats) -> Floats:
    """``product / sqrt(left * right)``, clipped to [-1, 1]; 0 if one side is constant."""
    scale = np.sqrt(np.maximum(left, 0) * np.maximum(right, 0))
    ratio: Floats = np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)
    return ratio.clip(-1, 1)


def _classes(run: Predictions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.asarray(run.predictions, dtype=np.int64), np.asarray(run.labels, dtype=np.int64)


def _accuracy_parts(run: Predictions) -> Floats:
    predicted, actual = _classes(run)
    return np.stack([predicted == actual, np.ones(len(actual))], axis=1).astype(float)


def _mean(sums: Floats) -> Floats:
    """Mean from sums [..., (sum, count)]; 0 if the count is 0."""
    return np.divide(sums[..., 0], sums[..., 1], out=np.zeros(sums.shape[:-1]), where=sums[..., 1] > 0)


def _f1_parts(run: Predictions) -> Floats:
    predicted, actual = (classes == 1 for classes in _classes(run))
    return np.stack([2.0 * (predicted & actual), predicted * 1.0 + actual], axis=1)


def _class_parts(run: Predictions) -> Floats:
    """[N, 3 C]: one-hot or multi-hot vectors of right, predicted and actual classes."""
    predicted, actual = run.predictions, run.labels
    if predicted.ndim == 1:
        predicted, actual = (classes[:, None] == np.unique(_classes(run)) for classes in _classes(run))
    return np.concatenate([predicted & actual, predicted, actual], axis=1).astype(float)


def _f1_of_classes(sums: Floats) -> tuple[Floats, Floats]:
    """[..., C]: F1 of each class, 0 without predictions and labels; and the number of both."""
    right, predicted, actual = np.split(sums, 3, axis=-1)
    total = predicted + actual
    return np.divide(2 * right, total, out=np.zeros(total.shape), where=total > 0), total


def _f1_macro(sums: Floats) -> Floats:
    """The mean F1 of all classes of a multilabel task."""
    mean: Floats = _f1_of_classes(sums)[0].mean(-1)
    return mean


def _f1_macro_of_present(sums: Floats) -> Floats:
    """The mean F1 of the classes of a classification that occur in the resample."""
    f1, total = _f1_of_classes(sums)
    mean: Floats = f1.sum(-1) / (total > 0).sum(-1)
    return mean


def _f1_micro_parts(run: Predictions) -> Floats:
    parts = np.split(_class_parts(run), 3, axis=1)
    right, predicted, actual = (part.sum(1) for part in parts)
    return np.stack([2 * right, predicted + actual], axis=1)


def _subset_parts(run: Predictions) -> Floats:
    right = (run.predictions == run.labels).all(-1)
    return np.stack([right, np.ones(len(right))], axis=1).astype(float)


@lru_cache(maxsize=1 << 17)
def counted(predicted: tuple[str, ...], actual: tuple[str, ...]) -> tuple[int, int, int]:
    """`entity_counts`. Cached, because many runs predict the same tags."""
    return entity_counts(predicted, actual)


def entity_counts_of(run: Predictions) -> Floats:
    """[examples, 3]: the numbers of correct, predicted and actual entities of each example."""
    counts = chain.from_iterable(map(counted, run.predictions, run.labels))
    return np.fromiter(counts, dtype=np.float64).reshape(-1, 3)


def _entities(numerator: Sequence[int], denominator: Sequence[int]) -> SumMetric:
    """A ratio of sums of counts, (0 correct, 1 predicted, 2 actual)."""

    def parts(run: Predictions) -> Floats:
        counts = entity_counts_of(run)
        return np.stack([counts[:, list(columns)].sum(1) for columns in (numerator, denominator)], axis=1)

    return SumMetric(parts, _mean)


def words_right(predicted: Sequence[str], actual: Sequence[str]) -> int:
    """The number of words with the right tag."""
    return sum(ours == theirs for ours, theirs in zip(predicted, actual, strict=True))


def _token_parts(run: Predictions) -> Floats:
    right = [words_right(*pair) for pair in zip(run.predictions, run.labels, strict=True)]
    return np.stack([right, [len(tags) for tags in run.labels]], axis=1).astype(float)


def _error_parts(power: int) -> Callable[[Predictions], Floats]:
    """Return the function of the summands of the mean absolute (1) or mean squared (2) error."""

    def parts(run: Predictions) -> Floats:
        difference = np.asarray(run.predictions, dtype=float) - np.asarray(run.labels, dtype=float)
        return np.stack([np.abs(difference) ** power, np.ones(len(difference))], axis=1)

    return parts


def _matthews_parts(run: Predictions) -> Floats:
    """[N, 2 + 2 C]: correct, 1, and one-hot vectors of predicted and actual class."""
    predicted, actual = _classes(run)
    count = int(max(predicted.max(), actual.max())) + 1
    one_hot = np.eye(count)
    correct = np.stack([predicted == actual, np.ones(len(actual))], axis=1)
    return np.concatenate([correct, one_hot[predicted], one_hot[actual]], axis=1)


def _matthews(sums: Floats) -> Floats:
    """The multiclass Matthews correlation (Gorodkin, 2004): the correlation of one-hot vectors."""
    correct, total = sums[..., 0], sums[..., 1]
    predicted, actual = np.split(sums[..., 2:], 2, axis=-1)
    return _ratio(
        correct * total - (predicted * actual).sum(-1),
        total**2 - (predicted**2).sum(-1),
        total**2 - (actual**2).sum(-1),
    )


def _pearson_parts(run: Predictions) -> Floats:
    """Moments of standardized values; standardizing avoids cancellation in the sums of squares."""
    columns = [np.asarray(values, dtype=float) for values in (run.predictions, run.labels)]
    x, y = ((column - column.mean()) / (column.std() or 1.0) for column in columns)
    return np.stack([np.ones(len(x)), x, y, x * y, x * x, y * y], axis=1)


def _pearson(sums: Floats) -> Floats:
    n, x, y, xy, xx, yy = np.moveaxis(sums, -1, 0)
    left, right = xx - x * x / n, yy - y * y / n
    least = 1e-12 * n  # a smaller sum of squares is rounding error of a constant
    return _ratio(xy - x * y / n, np.where(left > least, left, 0), np.where(right > least, right, 0))


@lru_cache(maxsize=1 << 17)
def matched(how: Match, text: str, answers: tuple[str, ...]) -> tuple[float, float]:
    """Exact match and F1 of an answer. Cached, because many runs predict the same texts."""
    return how(text, answers)


def matches(how: Match, texts: Iterable[str], labels: Iterable[Sequence[str]]) -> Floats:
    """[examples, 2]: exact match and F1 of each answer."""
    pairs = map(matched, repeat(how), texts, map(tuple, labels))
    return np.fromiter(chain.from_iterable(pairs), dtype=np.float64).reshape(-1, 2)


def _squad(index: int, how: Match, answerable: bool | None = None) -> SumMetric:
    """A SQuAD metric in percent.

    Args:
        index: 0 for exact match, 1 for F1.
        answerable: restrict to questions with (True) or without (False) an answer; None for all questions.
    """

    def parts(run: Predictions) -> Floats:
        counted = np.array([answerable in (None, len(answers) > 0) for answers in run.labels], dtype=float)
        scores = 100 * matches(how, run.predictions, run.labels)[:, index]
        return np.stack([scores * counted, counted], axis=1)

    return SumMetric(parts, _mean)


RESAMPLED_METRICS: Mapping[tuple[str, str], Sequence[ResampledMetric]] = {
    ("classification", "accuracy"): [SumMetric(_accuracy_parts, _mean)],
    ("classification", "f1"): [SumMetric(_f1_parts, _mean)],
    ("classification", "f1_micro"): [SumMetric(_f1_micro_parts, _mean)],
    ("classification", "f1_macro"): [SumMetric(_class_parts, _f1_macro_of_present)],
    ("classification", "matthews_correlation"): [SumMetric(_matthews_parts, _matthews, lowest=-1.0)],
    ("multilabel", "f1_micro"): [SumMetric(_f1_micro_parts, _mean)],
    ("multilabel", "f1_macro"): [SumMetric(_class_parts, _f1_macro)],
    ("multilabel", "subset_accuracy"): [SumMetric(_subset_parts, _mean)],
    ("token_classification", "entity_precision"): [_entities([0], [1])],
    ("token_classification", "entity_recall"): [_entities([0], [2])],
    ("token_classification", "entity_f1"): [_entities([0, 0], [1, 2])],
    ("token_classification", "token_accuracy"): [SumMetric(_token_parts, _mean)],
    ("regression", "pearson"): [SumMetric(_pearson_parts, _pearson, lowest=-1.0)],
    ("regression", "spearmanr"): [SpearmanMetric()],
    ("regression", "mse"): [SumMetric(_error_parts(2), _mean, lowest=None)],
    ("regression", "mae"): [SumMetric(_error_parts(1), _mean, lowest=None)],
    **{
        ("qa", f"{prefix}{name}"): [_squad(index, how, answerable) for how in ways]
        for index, name in enumerate(("exact", "f1"))
        for prefix, answerable, ways in (
            ("", None, (match, match_v2)),
            ("HasAns_", True, (match_v2,)),
            ("NoAns_", False, (match_v2,)),
        )
    },
}
"""(kind of task, metric) -> its possible variants; the one that reproduces the recorded scores is used."""
