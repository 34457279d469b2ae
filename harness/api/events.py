"""Events that observers of runs receive, and the points of loss and score curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True)
class RunId:
    """Identifies a run.

    `role` is ``student``; ``teacher`` for the fine-tuning of a teacher, whose label is its name; ``general`` for
    distillation on unlabelled text before any task; or ``trial`` for a tuning run, with its number `trial`, from 0.
    """

    key: str
    task: str
    label: str
    student: str
    seed: int
    role: str = "student"
    trial: int | None = None

    def __str__(self) -> str:
        if self.role == "teacher":
            return f"teacher {self.label} on {self.task}"
        if self.role == "general":
            return f"{self.label} {self.student} on {self.task}"
        if self.trial is not None:
            return f"{self.task} {self.label} {self.student} trial {self.trial}"
        return f"{self.task} {self.label} {self.student} seed {self.seed}"


@dataclass(frozen=True)
class SuiteStarted:
    """The execution of a suite starts.

    Attributes:
        suite: its name.
        folder: its results folder. The record, the predictions and the student of a run are in ``runs/<key>`` there.
        runs: number of runs to train.
        done: number of runs that are done.
        command: the command that executes it, as a user would type it.
        settings: by the key of a run, teacher or text stage, everything that determines its result, as plain values:
            the parts of its key. The shapes of student and teachers, the method with its options, the data and the
            training settings are among them.
    """

    suite: str
    folder: str
    runs: int
    done: int
    command: str = ""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class SuiteEnded:
    """The execution of a suite has ended, and its report is written unless it was interrupted.

    Attributes:
        suite, folder, runs: as in `SuiteStarted`.
        failed: number of runs, teachers and other artifacts that failed.
        exit_code: of `harness run`: 0 success, 1 something failed, 2 the disk or a measurement failed, 130 interrupted.
        files: paths of the files of the report; empty if none was written: interrupted, or ended by an error.
    """

    suite: str
    folder: str
    runs: int
    failed: int
    exit_code: int
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobsEnded:
    """A job of the suite's graph has ended: `ended` of `total` have, in this process or in others."""

    ended: int
    total: int


@dataclass(frozen=True)
class Preparing:
    """Progress of work that runs wait for, such as a teacher's pass over the training data.

    `done` of `total` (None: unknown) `unit` of the work `what` are done after `seconds`. `ended`: the work has stopped,
    completed or not.
    """

    what: str
    unit: str
    done: int
    total: int | None
    seconds: float
    ended: bool = False


@dataclass(frozen=True)
class Waiting:
    """The execution may wait for another process: `owner_process` (a process id) on `owner_host` builds `what`."""

    what: str
    owner_host: str
    owner_process: int


@dataclass(frozen=True)
class RunStarted:
    """A run starts at `step`: 0, or the step of its checkpoint. `cohort` is the number of runs in its cohort."""

    run: RunId
    step: int
    steps: int
    cohort: int


class EpochScore(BaseModel):
    """A student's score at the end of an epoch, on the held-out split."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    step: int = Field(description="completed steps of the run")
    epoch: float = Field(description="epochs since the start of the last stage")
    score: float


@dataclass(frozen=True)
class EpochScored:
    """A student was scored at the end of an epoch, on the held-out split."""

    run: RunId
    point: EpochScore


class LossPoint(BaseModel):
    """A point of a run's loss curve: means over the steps since the previous point.

    JSON has no numbers that are not finite; they are written as strings ("NaN").
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    stage: str
    step: int = Field(description="completed steps of the run")
    lr: float
    terms: dict[str, float] = Field(
        description="`loss`: the weighted total; others: unweighted terms and logged values"
    )


@dataclass(frozen=True)
class StepLogged:
    """A step was logged. `losses` holds the weighted total (``loss``), the unweighted terms and values logged by the
    method."""

    run: RunId
    stage: str
    step: int
    steps: int
    losses: Mapping[str, float]
    lr: float


@dataclass(frozen=True)
class RunFinished:
    """A run finished. `score` is the task's score on the validation set (of a trial: on the held-out split); None if
    labels are hidden, and for a text stage."""

    run: RunId
    score: float | None
    metrics: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class RunFailed:
    """A run, a teacher or a text stage failed.

    Attributes:
        step: completed steps of a student's run; 0 if it failed before its student existed, and for others.
        error: one line: step, stage, and the exception's type and message.
    """

    run: RunId
    step: int
    error: str
