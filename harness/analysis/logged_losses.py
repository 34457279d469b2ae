"""The logged losses of a run as arrays, which need a tenth of the memory of the record's list of points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from harness.analysis.student_t import Floats
from harness.api.events import LossPoint


@dataclass(frozen=True, eq=False)
class LoggedLosses:
    """The points of a loss curve.

    Attributes:
        stages: (stage, number of its points), in the order of training.
        steps: [points].
        lr: [points].
        terms: name -> values [points]; NaN at points without the term.
        absent: name -> [points], the points without the term; only of terms that some points lack.
    """

    stages: Sequence[tuple[str, int]]
    steps: NDArray[np.int64]
    lr: Floats
    terms: Mapping[str, Floats]
    absent: Mapping[str, NDArray[np.bool_]]

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def stage_of(self) -> list[str]:
        """The stage of each point."""
        return [stage for stage, count in self.stages for _ in range(count)]

    @classmethod
    def of(cls, points: Sequence[LossPoint]) -> LoggedLosses:
        """Convert the points of a record."""
        names = dict.fromkeys(name for point in points for name in point.terms)
        uneven = any(len(point.terms) != len(names) for point in points)
        absent = {name: np.array([name not in point.terms for point in points]) for name in names if uneven}
        return cls(
            stages=[(stage, len(list(group))) for stage, group in groupby(points, key=lambda point: point.stage)],
            steps=np.array([point.step for point in points], dtype=np.int64),
            lr=np.array([point.lr for point in points], dtype=np.float64),
            terms={name: np.array([point.terms.get(name, np.nan) for point in points]) for name in names},
            absent={name: mask for name, mask in absent.items() if mask.any()},
        )
