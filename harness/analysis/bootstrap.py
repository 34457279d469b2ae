"""The bootstrap over examples: the scores that runs would have had on other examples of the same kind.

Each resample draws as many examples as there are, with replacement, once for all that scored them, so that rows are
paired. It is seeded by the fingerprint of the examples: the same results give the same report, and a row that is added
moves no interval of another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.analysis import prediction_tables
from harness.analysis.prediction_tables import Predictions, PredictionTable
from harness.analysis.resampled_metrics import RESAMPLED_METRICS, ResampledMetric, Resamples, SpearmanMetric
from harness.analysis.student_t import Floats
from harness.storage.records import PlannedTask

RESAMPLES = 2000

BLOCKS = 2048
"""Of more examples than these, random blocks of equal size are resampled in place of single ones: their variance is the
same, and known to some 2 % from so many."""

LEAST_RESAMPLES = 200
"""Where ranks are made anew in every resample, a large set has fewer, but at least these."""


@dataclass(frozen=True, eq=False)
class BootstrapResult:
    """What resampling gave for a task.

    Attributes:
        draws: key of a result -> its scores [resamples], on the metric's own scale. A result is not here if its
            predictions are not.
        examples: how many were scored.
        bounds: the least and greatest score that the metric can give, on its own scale; None if there are no draws.
        constant: the best score of one class for every example; None where that cannot be told.
        reason: why there is nothing of any.
        lacking: where there is something of others, key -> why there is nothing of it.
    """

    draws: Mapping[str, Floats] = field(default_factory=dict)
    examples: int = 0
    bounds: tuple[float, float] | None = None
    constant: float | None = None
    reason: str | None = None
    lacking: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordedScore:
    """A result to be resampled: where its predictions are, and its score, which they must give again."""

    key: str
    predictions: Path
    score: float


def bootstrap_scores(task: PlannedTask, fingerprint: str, results: Sequence[RecordedScore]) -> BootstrapResult:
    """Resample the examples of a task: of all results whose predictions are of the same examples as most are, and give
    the record's score in the same form as most do.

    Raises:
        UserError: predictions cannot be read.
    """
    forms = RESAMPLED_METRICS.get((task.kind, task.score), ())
    if not forms:
        return BootstrapResult(reason=f"{task.score} has no form that can be computed on resamples")
    found = {
        result.key: table for result in results if (table := prediction_tables.read(result.predictions)) is not None
    }
    if not found:
        return BootstrapResult(reason="no predictions were kept")
    same, recorded = _of_most(found), {result.key: result.score for result in results}
    splits = list(prediction_tables.by_split(list(same.values())).values())
    right = [_giving(recorded, dict(zip(same, _whole(form, splits).tolist(), strict=True))) for form in forms]
    place = max(range(len(forms)), key=lambda index: len(right[index]))
    if 2 * len(right[place]) < len(same):
        return BootstrapResult(reason="the predictions do not give the scores of the records")
    form, kept = forms[place], {key: table for key, table in same.items() if key in right[place]}
    draws, examples = _draws(form, kept, fingerprint)
    lacking = {key: _why(key, found, same) for key in recorded if key not in kept}
    bounds = form.lowest, 100.0 if task.percent else 1.0
    return BootstrapResult(draws, examples, bounds, _constant(task, form, splits), lacking=lacking)


def _why(key: str, found: Mapping[str, PredictionTable], same: Mapping[str, PredictionTable]) -> str:
    """A result cannot be resampled, of which there may be predictions, and these of the same examples as most."""
    if key not in found:
        return "predictions.parquet is not there"
    if key not in same:
        return "predictions.parquet is of other examples than most"
    return "predictions.parquet does not give the score of record.json"


def _of_most(tables: Mapping[str, PredictionTable]) -> dict[str, PredictionTable]:
    """Those that hold the same examples as most do."""
    groups: list[dict[str, PredictionTable]] = []
    for key, table in tables.items():
        alike = (group for group in groups if table.same_examples(next(iter(group.values()))))
        group = next(alike, None)
        if group is None:
            groups.append({key: table})
        else:
            group[key] = table
    return max(groups, key=len)


def _giving(recorded: Mapping[str, float], computed: Mapping[str, float]) -> set[str]:
    """The keys whose computed score is the recorded one."""
    return {key for key, score in computed.items() if np.isclose(score, recorded[key], rtol=1e-6)}


def _whole(form: ResampledMetric, splits: Iterable[Sequence[Predictions]]) -> Floats:
    """[runs]: the scores on the examples as they are; over several splits their mean."""
    once = []
    for runs in splits:
        count = len(runs[0].labels)
        once.append(form.scores(runs, Resamples(np.ones((1, 1)), np.zeros(count, dtype=np.intp)))[0])
    mean: Floats = np.mean(once, axis=0)
    return mean


def _constant(task: PlannedTask, form: ResampledMetric, splits: Sequence[Sequence[Predictions]]) -> float | None:
    """Of classes alone: a correlation with a constant is none, and no text answers all questions."""
    if task.kind != "classification":
        return None
    labels = [runs[0].labels for runs in splits]
    classes = np.unique(np.concatenate(labels))
    said = ([Predictions(np.full(len(right), each), right) for each in classes] for right in labels)
    scores = _whole(form, said)
    return float(scores.max() if task.higher_is_better else scores.min())


def _draws(
    form: ResampledMetric, tables: Mapping[str, PredictionTable], fingerprint: str
) -> tuple[dict[str, Floats], int]:
    splits = prediction_tables.by_split(list(tables.values()))
    sizes = [len(runs[0].labels) for runs in splits.values()]
    number = RESAMPLES
    if isinstance(form, SpearmanMetric):
        number = min(RESAMPLES, max(LEAST_RESAMPLES, RESAMPLES * BLOCKS // max(sizes)))
    seed = int.from_bytes(hashlib.sha256(fingerprint.encode()).digest()[:8])
    generator = np.random.default_rng(seed)
    parts = [
        form.scores(runs, resamples(size, number, generator)) for size, runs in zip(sizes, splits.values(), strict=True)
    ]
    scores = np.mean(parts, axis=0)
    return {key: scores[:, place] for place, key in enumerate(tables)}, sum(sizes)


def resamples(examples: int, number: int, generator: np.random.Generator) -> Resamples:
    """`number` resamples of so many examples."""
    blocks = min(examples, BLOCKS)
    block = generator.permutation(examples) % blocks if examples > blocks else np.arange(examples)
    drawn = generator.integers(blocks, size=(number, blocks)) + blocks * np.arange(number)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=number * blocks).reshape(number, blocks)
    return Resamples(counts.astype(float), block)
