"""Bootstrap over examples: scores of stored predictions on resampled validation sets.

Each resample draws as many examples as the set has, with replacement. All rows use the same resamples, so comparisons
are paired. The seed is derived from the fingerprint of the examples: the same results give the same report, and adding
a row does not change the intervals of other rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.analysis import prediction_tables
from harness.analysis.constant_answers import constant_predictions, has_constant
from harness.analysis.prediction_tables import Predictions, PredictionTable
from harness.analysis.resampled_metrics import RESAMPLED_METRICS, ResampledMetric, Resamples, SpearmanMetric
from harness.analysis.student_t import Floats
from harness.storage.plan_file import PlannedTask

RESAMPLES = 2000

BLOCKS = 2048
"""Larger sets are split into this many random blocks of equal size, and blocks are resampled instead of examples. The
variance is the same; with this many blocks it is estimated to about 2 %."""

LEAST_RESAMPLES = 200
"""Least number of resamples for rank correlations on large sets, where every resample needs new ranks."""


@dataclass(frozen=True, eq=False)
class BootstrapResult:
    """The bootstrap of all results of one task.

    Attributes:
        draws: key of a result -> scores [resamples], on the scale of the metric. Results without usable predictions
            are left out.
        examples: number of examples.
        bounds: least and greatest value of the metric, on its own scale; None without draws, or if it has no greatest
            value.
        constant: the best score of one answer for every example; None if it is not defined or cannot be computed.
        reason: why no result has draws; None if some have.
        missing: key of a result without draws -> the reason, if other results have draws.
    """

    draws: Mapping[str, Floats] = field(default_factory=dict)
    examples: int = 0
    bounds: tuple[float, float] | None = None
    constant: float | None = None
    reason: str | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordedScore:
    """A result to bootstrap: its predictions if they are stored, and its score, which they must reproduce."""

    key: str
    predictions: PredictionTable | None
    score: float


def bootstrap_scores(task: PlannedTask, fingerprint: str, results: Sequence[RecordedScore]) -> BootstrapResult:
    """Bootstrap the scores of all results of one task.

    Only results with predictions on the same examples as most results are used, and only if these predictions
    reproduce the score of the record. If a metric has several variants, the one that reproduces most scores is used.

    `fingerprint`, of the examples, seeds the resamples.
    """
    variants = RESAMPLED_METRICS.get((task.kind, task.score), ())
    if not variants:
        return BootstrapResult(reason=f"the metric {task.score} cannot be computed on resamples")
    tables = {result.key: result.predictions for result in results if result.predictions is not None}
    if not tables:
        return BootstrapResult(reason="no predictions were stored")
    same, recorded = _on_most_common_examples(tables), {result.key: result.score for result in results}
    splits = list(prediction_tables.by_split(list(same.values())).values())
    reproduced = [_reproduced(recorded, dict(zip(same, _scores(m, splits).tolist(), strict=True))) for m in variants]
    best = max(range(len(variants)), key=lambda index: len(reproduced[index]))
    if 2 * len(reproduced[best]) < len(same):
        return BootstrapResult(reason="the predictions do not reproduce the scores of the records")
    metric, usable = variants[best], {key: table for key, table in same.items() if key in reproduced[best]}
    draws, examples = _draws(metric, usable, fingerprint)
    missing = {key: _reason(key, tables, same) for key in recorded if key not in usable}
    bounds = None if metric.lowest is None else (metric.lowest, 100.0 if task.percent else 1.0)
    return BootstrapResult(draws, examples, bounds, _constant(task, metric, splits), missing=missing)


def _reason(key: str, tables: Mapping[str, PredictionTable], same: Mapping[str, PredictionTable]) -> str:
    """Why the result `key` has no draws."""
    if key not in tables:
        return "predictions.parquet does not exist"
    if key not in same:
        return "predictions.parquet contains other examples than most"
    return "predictions.parquet does not reproduce the score of record.json"


def _on_most_common_examples(tables: Mapping[str, PredictionTable]) -> dict[str, PredictionTable]:
    """The largest group of tables that contain the same examples."""
    groups: dict[int, dict[str, PredictionTable]] = {}
    for key, table in tables.items():
        groups.setdefault(id(table.examples), {})[key] = table
    return max(groups.values(), key=len)


def _reproduced(recorded: Mapping[str, float], computed: Mapping[str, float]) -> set[str]:
    """The keys whose computed score equals the recorded one."""
    equal = np.isclose(list(computed.values()), [recorded[key] for key in computed], rtol=1e-6)
    return {key for key, close in zip(computed, equal, strict=True) if close}


def _scores(metric: ResampledMetric, splits: Iterable[Sequence[Predictions]]) -> Floats:
    """[runs]: the scores without resampling, averaged over the splits."""
    by_split = []
    for runs in splits:
        count = len(runs[0].labels)
        by_split.append(metric.scores(runs, Resamples(np.ones((1, 1)), np.zeros(count, dtype=np.intp)))[0])
    mean: Floats = np.mean(by_split, axis=0)
    return mean


def _constant(task: PlannedTask, metric: ResampledMetric, splits: Sequence[Sequence[Predictions]]) -> float | None:
    """The best score of one answer for every example; None if the score has none."""
    if not has_constant(task.kind, task.score):
        return None
    labels = [runs[0].labels for runs in splits]
    every = np.concatenate(labels)
    constants = (
        [Predictions(answer, split) for answer in constant_predictions(task.kind, every, split)] for split in labels
    )
    scores = _scores(metric, constants)
    return float(scores.max() if task.higher_is_better else scores.min())


def _draws(
    metric: ResampledMetric, tables: Mapping[str, PredictionTable], fingerprint: str
) -> tuple[dict[str, Floats], int]:
    """Key -> scores [resamples], averaged over the splits; and the number of examples of all splits."""
    splits = prediction_tables.by_split(list(tables.values()))
    sizes = [len(runs[0].labels) for runs in splits.values()]
    number = RESAMPLES
    if isinstance(metric, SpearmanMetric):
        number = min(RESAMPLES, max(LEAST_RESAMPLES, RESAMPLES * BLOCKS // max(sizes)))
    seed = int.from_bytes(hashlib.sha256(fingerprint.encode()).digest()[:8])
    generator = np.random.default_rng(seed)
    parts = [
        metric.scores(runs, resamples(size, number, generator))
        for size, runs in zip(sizes, splits.values(), strict=True)
    ]
    scores = np.mean(parts, axis=0)
    return {key: scores[:, column] for column, key in enumerate(tables)}, sum(sizes)


def resamples(examples: int, number: int, generator: np.random.Generator) -> Resamples:
    """Draw `number` resamples of a set of `examples` examples."""
    blocks = min(examples, BLOCKS)
    block = generator.permutation(examples) % blocks if examples > blocks else np.arange(examples)
    drawn = generator.integers(blocks, size=(number, blocks)) + blocks * np.arange(number)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=number * blocks).reshape(number, blocks)
    return Resamples(counts.astype(float), block)
