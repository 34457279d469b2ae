"""Simulates predictions with known true scores, and computes samples from them as a report does.

A run answers an example correctly (or with a residual) by a latent normal variable

    skill + seed effect + example effect shared by a method's seeds + example effect drawn anew for each seed,

so population scores have closed forms. Scores and resampled scores are computed by
`harness.analysis.resampled_metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from harness.analysis.bootstrap import resamples
from harness.analysis.cell_results import RowName
from harness.analysis.inference import Sample
from harness.analysis.prediction_tables import Predictions
from harness.analysis.resampled_metrics import RESAMPLED_METRICS, ResampledMetric, Resamples
from harness.analysis.student_t import Floats

Generator = np.random.Generator

EXAMPLES = 1000
"""Number of examples of a task."""


def normal_cdf(x: Floats) -> Floats:
    """The distribution function of the standard normal distribution."""
    cdf: Floats = np.vectorize(NormalDist().cdf, otypes=[float])(x)
    return cdf


@dataclass(frozen=True)
class Scorer:
    """Computes samples from predictions, with fixed resamples of `examples` examples."""

    kind: str
    metric: str
    examples: int
    number: int = 300
    """Number of resamples."""

    @cached_property
    def resampled_metric(self) -> ResampledMetric:
        return RESAMPLED_METRICS[self.kind, self.metric][0]

    @cached_property
    def resamples(self) -> Resamples:
        """The resamples, followed by the original examples."""
        drawn = resamples(self.examples, self.number, np.random.default_rng(1))
        return Resamples(np.vstack([drawn.counts, np.ones_like(drawn.counts[:1])]), drawn.block)

    def samples(self, rows: Sequence[Sequence[Predictions]]) -> list[Sample]:
        """One sample per row, on the scale of a board. A row has one entry of predictions per seed."""
        scores = self.resampled_metric.scores([run for row in rows for run in row], self.resamples)
        scores = scores * (1 if self.kind == "qa" else 100)
        samples, first = [], 0
        lowest = self.resampled_metric.lowest
        bounds = None if lowest is None else (100 * lowest, 100.0)
        for row in rows:
            row_scores = scores[:, first : first + len(row)]
            first += len(row)
            samples.append(Sample(tuple(range(len(row))), row_scores[-1], row_scores[:-1], self.examples, bounds))
        return samples


@dataclass(frozen=True)
class Board:
    """Methods on several tasks with equal true averages, except for `ahead`.

    Attributes:
        ratio: the standard deviation of seed effects over that of a score's example effects, in units of the score.
        shared: the share of the example effects' latent variance that a method's seeds share; the rest is drawn anew.
        unequal: the first method's seed effects have 6 times the variance.
        ahead: by how much the true score of the first method is higher; with predictions, in points.
    """

    methods: int
    seeds: int
    tasks: int
    ratio: float
    shared: float
    unequal: bool = False
    ahead: float = 0.0
    accuracy: float = 0.75

    def normal(self, generator: Generator, number: int = 100) -> dict[str, list[Sample]]:
        """Label -> samples of all tasks, with normal scores and `number` resamples.

        The standard deviation over examples is 1.
        """
        return {str(m): [self._normal(m, generator, number) for _ in range(self.tasks)] for m in range(self.methods)}

    def _normal(self, method: int, generator: Generator, number: int) -> Sample:
        def example_effects(rows: int) -> Floats:
            shared = math.sqrt(self.shared) * generator.normal(size=(rows, 1))
            return shared + math.sqrt(1 - self.shared) * generator.normal(size=(rows, self.seeds))

        spread = self.ratio * (math.sqrt(6) if self.unequal and method == 0 else 1.0)
        ahead = self.ahead if method == 0 else 0.0
        values = ahead + spread * generator.normal(size=self.seeds) + example_effects(1)[0]
        return Sample(tuple(range(self.seeds)), values, values + example_effects(number), EXAMPLES)

    def predicted(self, scorer: Scorer, generator: Generator) -> dict[str, list[Sample]]:
        """Label -> samples of all tasks, of simulated predictions scored by accuracy."""
        tasks = [scorer.samples(self._task(scorer.examples, generator)) for _ in range(self.tasks)]
        return {str(method): [samples[method] for samples in tasks] for method in range(self.methods)}

    def _task(self, examples: int, generator: Generator) -> list[list[Predictions]]:
        labels = np.zeros(examples, dtype=np.int64)
        accuracies = np.full(self.methods, self.accuracy)
        accuracies[0] += self.ahead / 100
        spreads = np.full(self.methods, self._spread(examples) * math.exp(generator.normal(0, 0.5)))
        spreads[0] *= math.sqrt(6) if self.unequal else 1.0
        rows = []
        for accuracy, spread in zip(accuracies, spreads, strict=True):
            skill = NormalDist().inv_cdf(accuracy) * math.sqrt(1 + spread**2)  # the mean over seeds is `accuracy`
            seed_effects = spread * generator.normal(size=self.seeds)
            shared = math.sqrt(self.shared) * generator.normal(size=examples)
            anew = math.sqrt(1 - self.shared) * generator.normal(size=(self.seeds, examples))
            wrong = skill + seed_effects[:, None] + shared + anew < 0
            rows.append([Predictions(seed.astype(np.int64), labels) for seed in wrong])
        return rows

    def _spread(self, examples: int) -> float:
        """The latent standard deviation of seed effects for `ratio`, from the slope of the score in the skill."""
        standard_deviation = self.ratio * math.sqrt(self.accuracy * (1 - self.accuracy) / examples)
        return standard_deviation / NormalDist().pdf(NormalDist().inv_cdf(self.accuracy))


@dataclass(frozen=True)
class Students:
    """Rows of one or two students with equal true scores, which vary over seeds alone, as is hardest.

    Attributes:
        spreads: for each student the standard deviations of the seed effects of its rows on the first task; on all
            others they are 1.
        common: standard deviation of an effect of each seed that all rows of a student share.
    """

    spreads: tuple[tuple[float, ...], ...]
    seeds: int = 3
    tasks: int = 1
    common: float = 0.0

    @property
    def names(self) -> list[str]:
        """Of the tasks."""
        return [str(task) for task in range(self.tasks)]

    def scores(self, generator: Generator) -> dict[RowName, dict[str, Sample]]:
        """Row -> its samples by task, with normal scores."""
        rows: dict[RowName, dict[str, Sample]] = {}
        for student, spreads in enumerate(self.spreads):
            of_seeds = self.common * generator.normal(size=(self.tasks, self.seeds))
            for label, spread in enumerate(spreads):
                values = generator.normal(size=(self.tasks, self.seeds))
                values[0] *= spread
                rows["student", str(label), str(student)] = {
                    name: Sample(tuple(range(self.seeds)), of_task)
                    for name, of_task in zip(self.names, values + of_seeds, strict=True)
                }
        return rows

    def error(self, row: RowName, other: RowName) -> float:
        """The true standard error of the difference of two rows."""
        first = sum(self.spreads[int(student)][int(label)] ** 2 for _, label, student in (row, other))
        shared = 2 * self.common**2 * (row[2] != other[2])
        return math.sqrt((first + 2 * (self.tasks - 1) + self.tasks * shared) / self.seeds) / self.tasks


@dataclass(frozen=True)
class Row:
    """One method on one task, for the coverage of the interval of its score.

    Attributes:
        spread: standard deviation of seed effects on the latent scale (for correlations, on Fisher's z scale).
        shared: as in `Board`.
        skill: latent mean of a seed's skill, for metrics of classes: 1 gives an accuracy of about 84, 3 of 99.
    """

    kind: str
    metric: str
    seeds: int
    spread: float
    shared: float = 0.5
    skill: float = 1.0

    def truth(self, generator: Generator, seeds: int = 200_000) -> tuple[float, float]:
        """Mean and standard deviation over seeds of the score on infinitely many examples."""
        scores = 100 * _population(self.metric)(*self._effects(seeds, generator))
        return float(scores.mean()), float(scores.std())

    def predictions(self, examples: int, generator: Generator) -> list[Predictions]:
        """Simulated predictions, one entry per seed."""
        first, second = self._effects(self.seeds, generator)
        noise = math.sqrt(self.shared) * generator.normal(size=examples)
        noise = noise + math.sqrt(1 - self.shared) * generator.normal(size=(self.seeds, examples))
        if self.kind == "regression":
            labels = generator.normal(size=examples)
            predicted = first[:, None] * labels + np.sqrt(1 - first[:, None] ** 2) * noise
            return [Predictions(row, labels) for row in predicted]
        if self.kind == "qa":
            texts = np.where(
                first[:, None] + second[:, None] + noise > 0, "green", np.where(noise > -2, "a red", "red")
            )
            answers = np.empty(examples, dtype=object)
            answers[:] = [["green"]] * examples
            return [Predictions(row, answers) for row in texts]
        labels = (generator.random(examples) < POSITIVE).astype(np.int64)
        latent = (2 * labels - 1) * first[:, None] + second[:, None] + noise
        return [Predictions((row > 0).astype(np.int64), labels) for row in latent]

    def _effects(self, seeds: int, generator: Generator) -> tuple[Floats, Floats]:
        """[seeds] each: skill, and bias towards class 1. For correlations: the correlation, and zeros."""
        first, second = self.spread * generator.normal(size=(2, seeds))
        if self.kind == "regression":
            return np.tanh(1.1 + first), 0 * second
        return self.skill + first, second


POSITIVE = 0.68
"""Share of class 1."""


def _population(metric: str) -> Callable[[Floats, Floats], Floats]:
    """Maps skill and bias to the score on infinitely many examples."""

    def rates(skill: Floats, bias: Floats) -> tuple[Floats, Floats]:
        grid = np.linspace(-9, 9, 4001)
        table = normal_cdf(grid)
        return np.interp(skill + bias, grid, table), np.interp(skill - bias, grid, table)

    def accuracy(skill: Floats, bias: Floats) -> Floats:
        sensitivity, specificity = rates(skill, bias)
        return POSITIVE * sensitivity + (1 - POSITIVE) * specificity

    def f1(skill: Floats, bias: Floats) -> Floats:
        sensitivity, specificity = rates(skill, bias)
        return 2 * POSITIVE * sensitivity / (POSITIVE * (1 + sensitivity) + (1 - POSITIVE) * (1 - specificity))

    def matthews(skill: Floats, bias: Floats) -> Floats:
        sensitivity, specificity = rates(skill, bias)
        predicted = POSITIVE * sensitivity + (1 - POSITIVE) * (1 - specificity)
        spread = np.sqrt(predicted * (1 - predicted) * POSITIVE * (1 - POSITIVE))
        score: Floats = POSITIVE * (1 - POSITIVE) * (sensitivity + specificity - 1) / spread
        return score

    def exact(skill: Floats, bias: Floats) -> Floats:
        return rates(skill, bias)[0]

    return {
        "accuracy": accuracy,
        "f1": f1,
        "matthews_correlation": matthews,
        "pearson": lambda rho, _: rho,
        "spearmanr": lambda rho, _: 6 / np.pi * np.arcsin(rho / 2),
        "exact": exact,
    }[metric]
