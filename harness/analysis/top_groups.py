"""Top groups: the methods that do not differ significantly from the best, by paired tests of the suite average.

Rows are compared with rows of the same student. The best row is selected by its score, so any pair of rows might be the
pair of the best and another one. Therefore all pairs of a student form one family, and Holm's method corrects their
p-values (Holm, 1979, Scandinavian Journal of Statistics 6(2)). Comparing the best of R rows only with the R - 1 others
would find differences between equal methods on more than 5 % of boards.

A row whose predictions are missing on a task has no known variance over the examples there. Counting it as 0 would make
its differences the most significant ones of the board, so they are not tested. If no row has resampled scores on the
task, as with a metric that cannot be resampled, all pairs are tested alike, over seeds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from harness.analysis.inference import LEVEL, Estimate, Sample, p_values
from harness.analysis.pairwise import differences

ALPHA = 1 - LEVEL
"""Family-wise error rate: the largest probability that any two equal methods of a student are called different."""


@dataclass(frozen=True)
class Comparison:
    """Two rows of one student.

    Attributes:
        difference: the average of the first label minus that of the second; its interval is not corrected. Without a
            known error if the pair is not tested.
        p: the p-value, corrected for the number of pairs of the student; None if the pair is not tested.
        unsampled: its labels without resampled scores that other rows have; if there are any, it is not tested.
    """

    student: str
    labels: tuple[str, str]
    difference: Estimate
    p: float | None
    unsampled: tuple[str, ...] = ()

    @property
    def distinguished(self) -> bool:
        """Whether the difference is significant at `ALPHA`."""
        return self.p is not None and self.p <= ALPHA


def compare(student: str, rows: Mapping[str, Sequence[Sample]], collapsed: Collection[str] = ()) -> list[Comparison]:
    """Compare every pair of labels. Returns an empty list if there is one seed.

    Args:
        rows: label -> samples, with the same tasks in the same order.
        collapsed: labels with collapsed seeds, which are excluded from the moderation of variances.
    """
    pairs = list(combinations(rows, 2))
    if not pairs or any(len(sample.values) < 2 for samples in rows.values() for sample in samples):
        return []
    estimates = differences(list(rows.values()), [index for index, label in enumerate(rows) if label in collapsed])
    lacking = _unsampled(rows)
    without = [tuple(label for label in pair if label in lacking) for pair in pairs]
    estimates = [
        replace(difference, over=None) if labels else difference
        for difference, labels in zip(estimates, without, strict=True)
    ]
    ps = p_values(estimates)
    # Pairs that are not tested stay in the family: deleting a file must not make other differences significant.
    corrected = holm([1.0 if p is None else p for p in ps])
    return [
        Comparison(student, pair, difference, None if p is None else p_holm, labels)
        for pair, difference, p, p_holm, labels in zip(pairs, estimates, ps, corrected, without, strict=True)
    ]


def _unsampled(rows: Mapping[str, Sequence[Sample]]) -> set[str]:
    """The labels without resampled scores on a task on which other rows have them."""
    lacking: set[str] = set()
    for samples in zip(*rows.values(), strict=True):
        without = {label for label, sample in zip(rows, samples, strict=True) if sample.draws is None}
        if len(without) < len(rows):
            lacking |= without
    return lacking


def holm(ps: Sequence[float]) -> list[float]:
    """Correct p-values by Holm's method, in their order: a corrected p is at most 0.05 where Holm rejects at 0.05."""
    order = sorted(range(len(ps)), key=lambda index: ps[index])
    corrected = [1.0] * len(ps)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = largest
    return corrected


def top_group(best: str, comparisons: Sequence[Comparison]) -> set[str]:
    """The best label and all labels that do not differ significantly from it."""
    with_best = [pair for pair in comparisons if best in pair.labels]
    return {best} | {label for pair in with_best if not pair.distinguished for label in pair.labels}
