"""Statistics over all tasks of a suite: the interquartile mean and the share of the teacher gap that is closed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.analysis.inference import Estimate, Sample, Variances, estimate
from harness.analysis.student_t import Floats

REDRAWN = 2000
"""Number of draws that estimate the standard error of an interquartile mean, to about 2 %."""


@dataclass(frozen=True)
class Gap:
    """How much of the gap between a student without a teacher and the teacher a method closes.

    Attributes:
        closed: in percent.
        low, high: the 95 % interval; None if its error is unknown.
        teacher: name of the teacher.
        without: label of the row without a teacher.
    """

    closed: float
    low: float | None
    high: float | None
    teacher: str
    without: str


def interquartile_mean(values: Floats) -> Floats:
    """The mean over the last axis without the lowest and the highest quarter, rounded down to whole values.

    Source: Agarwal et al., 2021, arXiv 2108.13264, section 4.3.
    """
    cut = values.shape[-1] // 4
    mean: Floats = np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1)
    return mean


def iqm(samples: Sequence[Sample], teachers: Sequence[Sample]) -> Estimate | None:
    """The interquartile mean over tasks and seeds of the score in percent of the teacher's score on the same task.

    The standard error is the standard deviation over scores drawn from normal distributions around the mean of each
    task, with the variances of `Sample.variances`. The degrees of freedom are those of a weighted mean in which the
    weight of a task is its share of the scores in the middle half.

    Args:
        samples: the scores of a row, one sample per task.
        teachers: those of the teacher, on the same tasks.

    Returns:
        None if a teacher scores 0 or less, so that percentages are meaningless.
    """
    if any(teacher.values.min() <= 0 for teacher in teachers):
        return None
    relative = [_relative(sample, teacher) for sample, teacher in zip(samples, teachers, strict=True)]
    mean = float(interquartile_mean(np.concatenate([sample.values for sample in relative])))
    result = replace(estimate(relative, _shares(relative)), mean=mean)
    if result.error is None:
        return result
    generator = np.random.default_rng(0)
    redrawn = np.concatenate([_redrawn(sample, generator) for sample in relative], axis=1)
    return _with_error(result, float(interquartile_mean(redrawn).std(ddof=1)))


def _with_error(old: Estimate, error: float) -> Estimate:
    """Scale the variances of an estimate so that its standard error is `error`."""
    scale = (error / old.error) ** 2 if old.error else 0.0
    return replace(old, variances=Variances(*(scale * part for part in old.variances)))


def _relative(sample: Sample, teacher: Sample) -> Sample:
    """Scores in percent of the teacher's. A teacher per seed is paired by seed; draws are paired by resample."""
    draws = None
    if sample.draws is not None:
        reference = np.broadcast_to(teacher.values, sample.draws.shape) if teacher.draws is None else teacher.draws
        draws = 100 * sample.draws / np.where(reference > 0, reference, teacher.values)
    return Sample(sample.seeds, 100 * sample.values / teacher.values, draws, sample.examples)


def _shares(samples: Sequence[Sample]) -> list[float]:
    """The share of each task in the scores of the middle half."""
    task = np.repeat(np.arange(len(samples)), [len(sample.values) for sample in samples])
    order = np.argsort(np.concatenate([sample.values for sample in samples]), kind="stable")
    cut = len(order) // 4
    counts = np.bincount(task[order[cut : len(order) - cut]], minlength=len(samples))
    shares: list[float] = (counts / counts.sum()).tolist()
    return shares


def _redrawn(sample: Sample, generator: np.random.Generator) -> Floats:
    """[REDRAWN, seeds]: scores drawn around the mean of the sample, with its variance components."""
    variances, count = sample.variances(), len(sample.values)
    alone = generator.normal(0, math.sqrt(count * max(variances.seeds, variances.luck)), size=(REDRAWN, count))
    shared = generator.normal(0, math.sqrt(variances.examples), size=(REDRAWN, 1))
    return sample.mean + shared + alone


def gap_closed(
    method: Sequence[Sample], without: Sequence[Sample], teacher: Sequence[Sample], names: tuple[str, str]
) -> Gap | None:
    """100 (method - without) / (teacher - without) of averages over tasks, with Fieller's interval.

    The interval consists of all g for which method - without - g (teacher - without) does not differ significantly from
    0 (Fieller, 1954, Journal of the Royal Statistical Society B 16(2)). Its seed variances are not moderated: it needs
    how the two differences vary together, and a teacher with one seed has nothing to moderate.

    Args:
        method, without, teacher: samples of the method, of the student without a teacher, and of the teacher, on the
            same tasks.
        names: the name of the teacher, and the label of the row without one.

    Returns:
        None if the teacher is not significantly better than the student without it: the ratio is undefined then.
    """
    fixed = [_with_draws(sample, other) for sample, other in zip(teacher, without, strict=True)]
    gain = estimate([a - b for a, b in zip(method, without, strict=True)])
    full = estimate([a - b for a, b in zip(fixed, without, strict=True)])
    rest = estimate([a - b for a, b in zip(method, fixed, strict=True)])
    if full.mean <= 0:
        return None
    share = gain.mean / full.mean
    if gain.error is None or full.error is None or rest.error is None:
        return Gap(100 * share, None, None, *names)
    t = max(gain.multiplier, full.multiplier) ** 2
    covariance = (gain.error**2 + full.error**2 - rest.error**2) / 2  # of gain and full
    a = full.mean**2 - t * full.error**2
    b = gain.mean * full.mean - t * covariance
    c = gain.mean**2 - t * gain.error**2
    if a <= 0:
        return None
    root = math.sqrt(max(0.0, b * b - a * c))
    return Gap(100 * share, 100 * (b - root) / a, 100 * (b + root) / a, *names)


def _with_draws(teacher: Sample, student: Sample) -> Sample:
    """Give a teacher without stored predictions constant draws, so that only the students are resampled."""
    if teacher.draws is not None or student.draws is None:
        return teacher
    return replace(teacher, draws=np.full((len(student.draws), 1), teacher.mean), examples=student.examples)
