"""The numbers of a leaderboard, without formatting. `harness.analysis.aggregate` computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from harness.analysis.cell_results import RowName
from harness.analysis.compatibility import Result
from harness.analysis.contrasts import RowContrasts
from harness.analysis.example_errors import Errors
from harness.analysis.inference import Estimate, Over, Sample, estimate
from harness.analysis.logged_losses import LoggedLosses
from harness.analysis.row_differences import RowDifferences
from harness.analysis.score_intervals import interval
from harness.analysis.speed_up import SpeedUp
from harness.analysis.suite_level import Gap
from harness.analysis.top_groups import Comparison
from harness.storage.latency_records import LatencyRecord
from harness.storage.plan_file import PlanFile, PlannedTask
from harness.storage.records import GeneralRecord, RunRecord
from harness.storage.tuning_records import TuningRecord

State = Literal["complete", "missing", "failed", "undefined", "not applicable"]

INCOMPLETE = frozenset({"missing", "failed", "undefined"})
"""States of a cell that make its row incomplete."""


@dataclass(frozen=True)
class Statistic:
    """A mean over `n` seeds with its 95 % interval.

    Attributes:
        std: standard deviation over the seeds (n - 1); None for one seed.
        low, high: the interval; None if the error is unknown. It need not be symmetric (see
            `harness.analysis.score_intervals`).
        over: the sources of variation that the interval covers; None if there is no interval.
        decimals: how many a board prints (see `harness.analysis.printed_decimals`).
    """

    mean: float
    std: float | None
    n: int
    low: float | None = None
    high: float | None = None
    over: Over | None = None
    decimals: int = 1

    @classmethod
    def of_scores(cls, samples: Sequence[Sample]) -> Statistic:
        """The statistic of the mean over tasks, from one sample per task with the same number of seeds."""
        low, high = interval(samples)
        values = np.mean([sample.values for sample in samples], axis=0)
        std = float(values.std(ddof=1)) if len(values) > 1 else None
        return replace(cls.from_estimate(estimate(samples), len(values)), std=std, low=low, high=high)

    @classmethod
    def from_estimate(cls, estimated: Estimate, n: int) -> Statistic:
        """The statistic of an estimated mean over `n` seeds, without a standard deviation."""
        return cls(estimated.mean, None, n, estimated.low, estimated.high, estimated.over)

    @property
    def rounded(self) -> float:
        """The mean as a board prints it, by which rows are ranked."""
        return round(self.mean, self.decimals)

    @property
    def margin(self) -> float | None:
        """The longer side of the interval: ``mean ± margin`` contains it."""
        return None if self.low is None or self.high is None else max(self.high - self.mean, self.mean - self.low)

    @property
    def skewed(self) -> bool:
        """Whether one side of the interval is more than twice as long as the other, and by more than one point."""
        if self.low is None or self.high is None:
            return False
        short, long = sorted((self.high - self.mean, self.mean - self.low))
        return long > 2 * short and long - short > 1


@dataclass(frozen=True)
class ScoreCell:
    """One task in one row.

    Attributes:
        sample: the scores on the board's scale; None unless the cell is complete.
        score: their mean with its interval; None unless the cell is complete.
        counts: whether the task is part of the row's average.
        collapsed: the collapsed seeds (see `harness.analysis.collapsed_seeds`).
    """

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
class BoardRow:
    """A teacher, a method on a student, or the constant answer. Unknown values, and those of incomplete rows, are None.

    Attributes:
        runs: number of planned runs.
        completed: number of completed runs.
        parameters: least and greatest number over the tasks, whose heads differ.
        student_seconds, teacher_seconds: sums over all runs of the row.
        assistant_seconds: the same of all runs of other rows whose students taught it, directly or not; each counts
            once, in full. None if the row has no such teacher.
        tuning_seconds: sum over all tuning studies of the row.
        iqm: interquartile mean over tasks and seeds, in percent of the suite's first teacher.
        top: whether the row is in the top group of its student.
    """

    role: Literal["teacher", "constant", "student"]
    label: str
    student: str
    cells: Mapping[str, ScoreCell]
    runs: int
    completed: int
    average: Statistic | None = None
    rank: int | None = None
    parameters: tuple[int, int] | None = None
    compression: float | None = None
    student_seconds: float | None = None
    teacher_seconds: float | None = None
    assistant_seconds: float | None = None
    tuning_seconds: float | None = None
    iqm: Statistic | None = None
    gap: Gap | None = None
    top: bool | None = None

    @property
    def name(self) -> RowName:
        """Identifies the row on the board."""
        return self.role, self.label, self.student

    @property
    def training_seconds(self) -> float | None:
        """The time of its runs and of those whose students taught it."""
        if self.student_seconds is None:
            return None
        return self.student_seconds + (self.teacher_seconds or 0.0) + (self.assistant_seconds or 0.0)

    @property
    def samples(self) -> list[Sample]:
        """The samples of the complete cells that count for the average, in the order of the plan."""
        return [cell.sample for cell in self.cells.values() if cell.counts and cell.sample]

    @property
    def collapsed(self) -> bool:
        """Whether seeds collapsed on a task that counts for the average."""
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
    score: Statistic
    teacher: str
    teacher_score: Statistic


@dataclass(frozen=True)
class Unsampled:
    """Why runs of a task could not be resampled. Empty `rows`: this holds for all rows."""

    task: str
    reason: str
    rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """The numbers of a board.

    Attributes:
        results: the completed results that the board is computed from, with the names of the plan. Their `losses` are
            empty: see `losses`.
        failures: the failed runs.
        losses: key -> the logged losses of a completed or failed result.
        errors: key -> the wrong examples of a result; None if labels are hidden. Results without predictions are left
            out. Empty if `summarize` was not asked for examples.
        others: number of stored records that are not part of the plan.
        differences: of any two rows but the constant answer, on each task and on averages.
        speed_ups: one column per machine.
        latencies: the measurements with the plan's settings, one per machine and number of threads.
        measurements: all latency measurements of the folder with the names of the plan, the oldest first.
        generals: the completed text stages.
        comparisons: all pairs of rows of each student, with the differences of their averages and corrected p-values.
        unsampled: the rows whose examples could not be resampled.
        tunings: key -> completed tuning study.
        constant: the row of the constant answer; None if it has a score on no task.
        contrasts: where rows give answers of different quality; None if `summarize` was not asked for
            examples.
    """

    plan: PlanFile
    teachers: tuple[BoardRow, ...]
    students: tuple[BoardRow, ...]
    beaten: tuple[BeatenTeacher, ...]
    results: tuple[Result, ...]
    others: int
    differences: RowDifferences
    speed_ups: tuple[SpeedUp, ...] = ()
    latencies: tuple[LatencyRecord, ...] = ()
    measurements: tuple[LatencyRecord, ...] = ()
    generals: tuple[GeneralRecord, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    unsampled: tuple[Unsampled, ...] = ()
    tunings: Mapping[str, TuningRecord] = field(default_factory=dict)
    constant: BoardRow | None = None
    failures: tuple[RunRecord, ...] = ()
    losses: Mapping[str, LoggedLosses] = field(default_factory=dict)
    errors: Mapping[str, Errors | None] = field(default_factory=dict)
    contrasts: RowContrasts | None = None

    @property
    def rows(self) -> tuple[BoardRow, ...]:
        """All rows in the order of the board."""
        return (*self.teachers, *([self.constant] if self.constant else []), *self.students)

    def decimals(self, task: str | None) -> int:
        """How many decimals the board prints of scores on a task; None: of averages."""
        column = (row.average if task is None else row.cells[task].score for row in self.rows)
        return next((statistic.decimals for statistic in column if statistic), 1)


def scale(task: PlannedTask) -> int:
    """The factor that brings scores to the range from 0 to 100; 1 for an error, which has no such range."""
    return 1 if task.percent else 100


def is_error(task: PlannedTask) -> bool:
    """Whether the score is an error in a unit of its own, such as the mean squared error, without a greatest value."""
    return task.percent and not task.higher_is_better
