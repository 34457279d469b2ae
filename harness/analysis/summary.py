"""The numbers of a leaderboard, with nothing said yet about how they look; `harness.analysis.aggregate` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from harness.analysis.compatibility import Result
from harness.analysis.inference import Estimate, Over, Sample, estimate
from harness.analysis.score_intervals import interval
from harness.analysis.speed_up import SpeedUp
from harness.analysis.student_t import Floats
from harness.analysis.suite_level import Gap
from harness.analysis.top_groups import Comparison
from harness.storage.latency_records import LatencyRecord
from harness.storage.records import GeneralRecord, PlanFile, PlannedTask
from harness.storage.tuning_records import TuningRecord

State = Literal["complete", "missing", "failed", "undefined", "not applicable"]

INCOMPLETE = frozenset({"missing", "failed", "undefined"})
"""States of a cell that make its row incomplete."""


@dataclass(frozen=True)
class Statistic:
    """A mean over `n` seeds, their standard deviation (with n - 1), which one seed has not, and the 95 % interval.

    The interval of a score on one task need not be symmetric (see `harness.analysis.score_intervals`). `over` says
    what it takes into account; where nothing is known, all of these are None.
    """

    mean: float
    std: float | None
    n: int
    low: float | None = None
    high: float | None = None
    over: Over | None = None

    @classmethod
    def from_values(cls, values: Floats, found: Estimate) -> Statistic:
        """`found` of scores that are `values`, seed by seed."""
        std = float(values.std(ddof=1)) if len(values) > 1 else None
        return replace(cls.from_estimate(found, len(values)), std=std)

    @classmethod
    def on_task(cls, sample: Sample) -> Statistic:
        """Of the scores on one task."""
        low, high = interval(sample)
        return replace(cls.from_values(sample.values, estimate([sample])), low=low, high=high)

    @classmethod
    def from_estimate(cls, found: Estimate, n: int) -> Statistic:
        """`found`, of `n` seeds that have no spread of their own."""
        return cls(found.mean, None, n, found.low, found.high, found.over)

    @property
    def margin(self) -> float | None:
        """The interval's longer side: ``mean ± margin`` contains it."""
        return None if self.low is None or self.high is None else max(self.high - self.mean, self.mean - self.low)


@dataclass(frozen=True)
class Cell:
    """One task in one row. `sample` (its scores, on the board's scale) and `score` (their mean with its interval) are
    there only if the cell is complete; `counts`: whether the task is part of the row's average; `collapsed`: seeds that
    collapsed (see `harness.analysis.collapsed_seeds`)."""

    state: State
    sample: Sample | None = None
    score: Statistic | None = None
    notes: tuple[str, ...] = ()
    counts: bool = True
    collapsed: tuple[int, ...] = ()

    @property
    def scores(self) -> Mapping[int, float]:
        """Seed -> score; empty unless the cell is complete."""
        return dict(zip(self.sample.seeds, self.sample.values.tolist(), strict=True)) if self.sample else {}


@dataclass(frozen=True)
class Row:
    """A teacher, a method on a student, or a constant answer. What is None is not known, or not to be told of a row
    that is incomplete.

    `parameters` are the least and the most over the tasks, whose heads differ; `student_seconds` and `teacher_seconds`
    are sums over all runs of the row, `tuning_seconds` over its tunings; `runs` are those planned, `completed` those
    done. `iqm` is the interquartile mean over tasks and seeds, in percent of the first teacher; `top` whether the row
    is in the top group of its student, which is None where that is not known.
    """

    role: Literal["teacher", "constant", "student"]
    label: str
    student: str
    cells: Mapping[str, Cell]
    runs: int
    completed: int
    average: Statistic | None = None
    rank: int | None = None
    parameters: tuple[int, int] | None = None
    compression: float | None = None
    student_seconds: float | None = None
    teacher_seconds: float | None = None
    tuning_seconds: float | None = None
    iqm: Statistic | None = None
    gap: Gap | None = None
    top: bool | None = None

    @property
    def samples(self) -> list[Sample]:
        """Of the tasks that count, as far as they are complete, in the plan's order."""
        return [cell.sample for cell in self.cells.values() if cell.counts and cell.sample]

    @property
    def collapsed(self) -> bool:
        """Whether seeds collapsed on a task that counts."""
        return any(cell.collapsed for cell in self.cells.values() if cell.counts)

    @property
    def status(self) -> Literal["complete", "incomplete", "not applicable"]:
        cells = self.cells.values()
        if any(cell.state in INCOMPLETE for cell in cells):
            return "incomplete"
        return "not applicable" if any(c.counts and c.state == "not applicable" for c in cells) else "complete"


@dataclass(frozen=True)
class BeatenTeacher:
    """A student without a teacher that scores better than a teacher, on one task."""

    task: str
    label: str
    student: str
    score: float
    teacher: str
    teacher_score: float


@dataclass(frozen=True)
class Unsampled:
    """Why the runs of a task could not be resampled: those of `rows`, or of all where none is named."""

    task: str
    reason: str
    rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """A board in numbers. `results` are those it is made of; `others` counts records that the plan does not ask for;
    `latencies` are the measurements that the plan asks for, one of each machine and number of threads, and `speed_ups`
    one column of each machine; `generals` the stages on unlabelled text that are done. `comparisons` are of all pairs
    of rows of one student; `unsampled` says why examples could not be resampled for all rows; `tunings` has the studies
    that are done, by key; `constant` is there if a constant answer has a score on some task."""

    plan: PlanFile
    teachers: tuple[Row, ...]
    students: tuple[Row, ...]
    beaten: tuple[BeatenTeacher, ...]
    results: tuple[Result, ...]
    others: int
    speed_ups: tuple[SpeedUp, ...] = ()
    latencies: tuple[LatencyRecord, ...] = ()
    generals: tuple[GeneralRecord, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    unsampled: tuple[Unsampled, ...] = ()
    tunings: Mapping[str, TuningRecord] = field(default_factory=dict)
    constant: Row | None = None

    @property
    def rows(self) -> tuple[Row, ...]:
        """All that have scores of their own, in the board's order."""
        return (*self.teachers, *([self.constant] if self.constant else []), *self.students)


def scale(task: PlannedTask) -> int:
    """What a score is multiplied by, so that all are from 0 to 100."""
    return 1 if task.percent else 100
