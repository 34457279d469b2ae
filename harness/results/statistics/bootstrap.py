"""The bootstrap over examples: the scores that runs would have had on other examples of the same kind.

Each resample draws as many examples as there are, with replacement, once for all that scored them, so that rows are
paired. It is seeded by the fingerprint of the examples: the same results give the same report, and a row that is added
moves no interval of another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.results import answers
from harness.results.answers import Table
from harness.results.forms import FORMS, Form, Ranked, Resamples
from harness.results.records import PlannedTask
from harness.results.statistics.inference import Floats

RESAMPLES = 2000

BLOCKS = 2048
"""Of more examples than these, random blocks of equal size are resampled in place of single ones: their variance is the
same, and known to some 2 % from so many."""

LEAST_RESAMPLES = 200
"""Where ranks are made anew in every resample, a large set has fewer, but at least these."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """What resampling gave for a task.

    Attributes:
        draws: key of a result -> its scores [resamples], on the metric's own scale. A result is not here if its
            predictions are not.
        examples: how many were scored.
        reason: why there is nothing of any.
    """

    draws: Mapping[str, Floats] = field(default_factory=dict)
    examples: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Scored:
    """A result to be resampled: where its predictions are, and its score, which they must give again."""

    key: str
    predictions: Path
    score: float


def draw(task: PlannedTask, fingerprint: str, results: Sequence[Scored]) -> Drawn:
    """Resample the examples of a task. Raises `UserError` for predictions that cannot be read."""
    forms = FORMS.get((task.kind, task.score), ())
    if not forms:
        return Drawn(reason=f"{task.score} has no form that can be computed on resamples")
    found = {result.key: table for result in results if (table := answers.read(result.predictions)) is not None}
    first = next(iter(found.values()), None)
    if first is None:
        return Drawn(reason="no predictions were kept")
    same = {key: table for key, table in found.items() if table.same_examples(first)}
    for form in forms:
        exact = _whole(form, same)
        if all(np.isclose(exact[result.key], result.score, rtol=1e-6) for result in results if result.key in same):
            draws, examples = _draws(form, same, fingerprint)
            return Drawn(draws, examples)
    return Drawn(reason="the predictions do not give the scores of the records")


def _whole(form: Form, tables: Mapping[str, Table]) -> dict[str, float]:
    """The scores on the examples as they are; over several splits their mean."""
    once = []
    for runs in answers.by_split(list(tables.values())).values():
        count = len(runs[0].labels)
        once.append(form.scores(runs, Resamples(np.ones((1, 1)), np.zeros(count, dtype=np.intp)))[0])
    return dict(zip(tables, np.mean(once, axis=0).tolist(), strict=True))


def _draws(form: Form, tables: Mapping[str, Table], fingerprint: str) -> tuple[dict[str, Floats], int]:
    splits = answers.by_split(list(tables.values()))
    sizes = [len(runs[0].labels) for runs in splits.values()]
    number = RESAMPLES
    if isinstance(form, Ranked):
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
