"""Successive halving: many candidates are trained shortly, the best third longer (Jamieson and Talwalkar, 2016).

Optuna's `SuccessiveHalvingPruner` decides on a trial as soon as it reports, which always promotes the first one. Here
all candidates of a rung train in lockstep and are known together, so the best third is simply taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

REDUCTION = 3
"""Candidates of a rung per candidate of the next one."""


@dataclass(frozen=True)
class Candidate:
    """A row of the board: a method on a student."""

    method: str
    student: str

    def __str__(self) -> str:
        return f"{self.method} on {self.student}"


def rungs(candidates: int) -> int:
    """Number of rungs until one candidate in `REDUCTION` is left, at most three."""
    return min(3, 1 + math.floor(math.log(max(1, candidates), REDUCTION)))


def ranked(scores: Mapping[Candidate, float], *, higher_is_better: bool) -> list[Candidate]:
    """The candidates, the best first. Of equal ones, the first is better; an undefined score, NaN, is the worst."""
    sign = -1 if higher_is_better else 1
    return sorted(scores, key=lambda row: math.inf if math.isnan(scores[row]) else sign * scores[row])


def survivors(scores: Mapping[Candidate, float], *, higher_is_better: bool) -> list[Candidate]:
    """The best third of the candidates, rounded up, the best first, as `ranked`."""
    return ranked(scores, higher_is_better=higher_is_better)[: math.ceil(len(scores) / REDUCTION)]


def epochs_of_rung(
    seconds: float, rungs_left: int, trainings: int, seconds_per_epoch: float, *, shortest: float, longest: float
) -> float:
    """Epochs of a rung that gets its share of the remaining time.

    Args:
        seconds: time that is left for this rung and the later ones, which share it equally.
        rungs_left: their number.
        trainings: students to train in this rung.
        seconds_per_epoch: time of one epoch of one training.
        shortest, longest: limits.
    """
    affordable = seconds / rungs_left / (trainings * seconds_per_epoch)
    return round(min(longest, max(shortest, affordable)), 2)
