"""Events that observers of runs receive, and the points of loss and score curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    labels are hidden."""

    run: RunId
    score: float | None
    metrics: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class RunFailed:
    """A run failed. `error` is one line: step, stage, and the exception's type and message."""

    run: RunId
    step: int
    error: str
