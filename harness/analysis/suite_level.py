"""What a row comes to over a whole suite, beside its average: the interquartile mean and the part of the gap closed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.analysis.inference import Estimate, Sample, Variances, estimate
from harness.analysis.student_t import Floats

REDRAWN = 2000
"""Draws of all scores that the standard error of an interquartile mean is told from, to some 2 %."""


@dataclass(frozen=True)
class Gap:
    """The part of the way from a student without a teacher up to the teacher that a method goes, in percent.

    `low` and `high` are the 95 % interval; None where nothing is known of how sure it is.
    """

    closed: float
    low: float | None
    high: float | None
    teacher: str
    without: str


def interquartile_mean(values: Floats) -> Floats:
    """The mean over the last axis without the lowest and the highest quarter, whole values only (Agarwal et al., 2021,
    arXiv 2108.13264, section 4.3)."""
    cut = values.shape[-1] // 4
    kept: Floats = np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1)
    return kept


def iqm(samples: Sequence[Sample], teachers: Sequence[Sample]) -> Estimate | None:
    """The interquartile mean over tasks and seeds of the score as percent of the teacher's on the same task.

    Its standard error is its spread over scores drawn as other seeds and examples might have given them: about the mean
    of each task, with the two variances of `Sample.variances`, so that nothing counts twice. The degrees of freedom are
    those of a mean in which each task has the share that it has of the middle half. None where a teacher scores 0 or
    less, so that nothing is a part of it.
    """
    if any(teacher.values.min() <= 0 for teacher in teachers):
        return None
    scaled = [_relative(own, teacher) for own, teacher in zip(samples, teachers, strict=True)]
    value = float(interquartile_mean(np.concatenate([sample.values for sample in scaled])))
    found = replace(estimate(scaled, _shares(scaled)), mean=value)
    if found.error is None:
        return found
    generator = np.random.default_rng(0)
    redrawn = np.concatenate([_redrawn(sample, generator) for sample in scaled], axis=1)
    return _with_error(found, float(interquartile_mean(redrawn).std(ddof=1)))


def _with_error(found: Estimate, error: float) -> Estimate:
    """The estimate with another standard error, whose parts keep their proportions."""
    scale = (error / found.error) ** 2 if found.error else 0.0
    return replace(found, variances=Variances(*(scale * part for part in found.variances)))


def _relative(own: Sample, teacher: Sample) -> Sample:
    """In percent of the teacher's score, or, seed by seed, of the run's own teacher's; resampled with it where both can
    be."""
    draws = None
    if own.draws is not None:
        below = np.broadcast_to(teacher.values, own.draws.shape) if teacher.draws is None else teacher.draws
        draws = 100 * own.draws / np.where(below > 0, below, teacher.values)
    return Sample(own.seeds, 100 * own.values / teacher.values, draws, own.examples)


def _shares(samples: Sequence[Sample]) -> list[float]:
    """Of the scores that the interquartile mean is over, how many are of each task."""
    task = np.repeat(np.arange(len(samples)), [len(sample.values) for sample in samples])
    order = np.argsort(np.concatenate([sample.values for sample in samples]), kind="stable")
    cut = len(order) // 4
    kept = np.bincount(task[order[cut : len(order) - cut]], minlength=len(samples))
    shares: list[float] = (kept / kept.sum()).tolist()
    return shares


def _redrawn(sample: Sample, generator: np.random.Generator) -> Floats:
    """[REDRAWN, seeds]: scores that differ from each other and from the sample's mean as its variances say."""
    found, count = sample.variances(), len(sample.values)
    alone = generator.normal(0, math.sqrt(count * max(found.seeds, found.luck)), size=(REDRAWN, count))
    shared = generator.normal(0, math.sqrt(found.examples), size=(REDRAWN, 1))
    return sample.mean + shared + alone


def gap_closed(
    own: Sequence[Sample], without: Sequence[Sample], teacher: Sequence[Sample], names: tuple[str, str]
) -> Gap | None:
    """100 (own - without) / (teacher - without), of averages over the same tasks, with Fieller's interval: all parts g
    for which own - without - g (teacher - without) cannot be told from 0 (Fieller, 1954, JRSS B 16(2)).

    None where the teacher is not ahead of the student without it, or not so that it can be told: a part of a gap that
    may be none means nothing. `names` are those of the teacher and of the label without one.
    """
    fixed = [_fixed(sample, pair) for sample, pair in zip(teacher, without, strict=True)]
    gain = estimate([a - b for a, b in zip(own, without, strict=True)])
    whole = estimate([a - b for a, b in zip(fixed, without, strict=True)])
    left = estimate([a - b for a, b in zip(own, fixed, strict=True)])
    if whole.mean <= 0:
        return None
    part = gain.mean / whole.mean
    if gain.error is None or whole.error is None or left.error is None:
        return Gap(100 * part, None, None, *names)
    t = max(gain.multiplier, whole.multiplier) ** 2
    shared = (gain.error**2 + whole.error**2 - left.error**2) / 2  # covariance of gain and whole
    a = whole.mean**2 - t * whole.error**2
    b = gain.mean * whole.mean - t * shared
    c = gain.mean**2 - t * gain.error**2
    if a <= 0:
        return None
    root = math.sqrt(max(0.0, b * b - a * c))
    return Gap(100 * part, 100 * (b - root) / a, 100 * (b + root) / a, *names)


def _fixed(teacher: Sample, beside: Sample) -> Sample:
    """The teacher as it is, where its predictions are not kept: what is resampled is then the students alone."""
    if teacher.draws is not None or beside.draws is None:
        return teacher
    return replace(teacher, draws=np.full((len(beside.draws), 1), teacher.mean), examples=beside.examples)
