"""What observers of runs receive: the frozen payloads of the observing hooks, and the points of a loss curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True)
class RunId:
    """Which run. `role` is ``student``, ``teacher`` while a teacher is being fine-tuned (its label is its name),
    ``general`` while a student is distilled on unlabelled text, before any task, or ``trial`` while options are tuned,
    with the trial's number, from 0."""

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
    """Work that runs wait for, such as a teacher's pass over the training data: `done` of `total` `unit` (None: nobody
    knows how many) after `seconds`. `ended`: it is over, finished or not."""

    what: str
    unit: str
    done: int
    total: int | None
    seconds: float
    ended: bool = False


@dataclass(frozen=True)
class RunStarted:
    """`step` is 0, or where a checkpoint left off; `cohort` counts the runs that train side by side."""

    run: RunId
    step: int
    steps: int
    cohort: int


class EpochScore(BaseModel):
    """What a student scored as an epoch ended, on the examples to choose on."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    step: int = Field(description="steps done, over the whole run")
    epoch: float = Field(description="of the last stage, from its first step on")
    score: float


class LossPoint(BaseModel):
    """A point of a run's loss curve: means over the steps since the point before it.

    A value that is not finite is written to JSON as a string ("NaN"), which any JSON reader takes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    stage: str
    step: int = Field(description="steps done, over the whole run")
    lr: float
    terms: dict[str, float] = Field(description="`loss`: the weighted total; the rest: unweighted terms and logs")


@dataclass(frozen=True)
class StepLogged:
    """`losses` holds the weighted total as ``loss``, each unweighted term, and what the method logged."""

    run: RunId
    stage: str
    step: int
    steps: int
    losses: Mapping[str, float]
    lr: float


@dataclass(frozen=True)
class RunFinished:
    """`score` is the task's main metric on the validation set, of a trial on the held-out part of the training split;
    None where labels are hidden."""

    run: RunId
    score: float | None
    metrics: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class RunFailed:
    """`error` is one line: the step and stage it stopped at, the exception's type and message."""

    run: RunId
    step: int
    error: str
