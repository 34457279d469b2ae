"""A plugin that implements every hook with all types, and imports `harness` and `harness.api` alone. mypy checks it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import Batch, LossTerms, Method, ModelOutputs, Needs, Problem, Stage, Step, hookimpl, tabular_task
from harness.api.engine import Engine, Execution, Interrupted
from harness.api.events import (
    EpochScored,
    JobsEnded,
    Preparing,
    RunFailed,
    RunFinished,
    RunId,
    RunStarted,
    StepLogged,
    SuiteEnded,
    SuiteStarted,
    Waiting,
)
from harness.api.latency_backend import Backend, Inputs, Program, TorchProgram
from harness.api.losses import task_loss
from harness.api.metric import MetricFactory
from harness.api.report import Content, Reporter, Section
from harness.api.task import Task
from harness.api.tracker import RunObserver, TrackedRun, TrackerFactory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from harness import BoardRow, Suite, Summary

harness_api = "1"


class TypedMethod(Method):
    name = "typed"
    min_teachers = max_teachers = 0

    def stages(self) -> Sequence[Stage]:
        return [Stage("train", Needs(student=["logits"]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        return {"task": task_loss(student.logits, batch)}


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(TypedMethod)


@hookimpl
def harness_register_tasks(register: Callable[[Task], None]) -> None:
    reviews = Path(__file__).parents[2] / "suites" / "reviews.csv"
    register(
        tabular_task(
            "typed",
            kind="classification",
            train=str(reviews),
            validation=0.25,
            text="review",
            label="stars",
            labels={1: "negative", 5: "positive"},
        )
    )


class Agreement:
    """The share of right predictions."""

    def compute(self, *, predictions: Sequence[int], references: Sequence[int]) -> Mapping[str, float]:
        pairs = zip(predictions, references, strict=True)
        return {"typed": sum(one == other for one, other in pairs) / len(references)}


@hookimpl
def harness_register_metrics(register: Callable[[str, MetricFactory], None]) -> None:
    register("typed", Agreement)


class Plain:
    """PyTorch without compilation."""

    exact = True
    packages: tuple[str, ...] = ()

    def obstacle(self, device: torch.device) -> str | None:
        return None

    def program(self, model: PreTrainedModel, device: torch.device, example: Inputs) -> Program:
        return TorchProgram(model, device)


@hookimpl
def harness_register_latency_backends(register: Callable[[str, Backend], None]) -> None:
    register("typed", Plain())


def until_deadline(execution: Execution) -> None:
    end = float(os.environ.get("SLURM_JOB_END_TIME", "inf"))
    with execution.jobs() as jobs:
        while ready := jobs.ready():
            in_time = [job for job in ready if time.time() + job.seconds < end]
            if not in_time:
                raise Interrupted
            jobs.build_one(sorted(in_time, key=lambda job: job.seconds))


@hookimpl
def harness_register_engines(register: Callable[[str, Engine], None]) -> None:
    register("until-deadline", until_deadline)


class Scores:
    """A tracker that writes scores to a file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = (folder / "scores.csv").open("a")

    def start_suite(self, suite: SuiteStarted) -> None: ...

    def start_run(self, run: TrackedRun) -> None: ...

    def log(self, run: RunId, values: Mapping[str, float], step: int) -> None: ...

    def end_run(self, run: RunId, scores: Mapping[str, float], error: str | None) -> None:
        print(run, scores.get("score"), sep=",", file=self.file, flush=True)

    def end_suite(self, suite: SuiteEnded) -> None:
        self.file.close()


@hookimpl
def harness_register_trackers(register: Callable[[str, TrackerFactory], None]) -> None:
    register("typed", lambda folder: RunObserver(Scores(folder)))


@hookimpl
def harness_register_published(register: Callable[[Path], None]) -> None:
    for path in Path(__file__).parent.glob("published/*.yaml"):
        register(path)


def names(content: Content) -> str:
    return "\n".join(row.label for row in content.summary.students)


@hookimpl
def harness_register_reporters(register: Callable[[str, Reporter], None]) -> None:
    register("names", names)


def ranked(rows: Sequence[BoardRow]) -> Iterator[str]:
    return (row.label for row in rows if row.rank is not None)


@hookimpl
def harness_report_sections(results: Summary) -> list[Section]:
    return [Section("Ranked rows", ", ".join(ranked(results.students)))]


@hookimpl
def harness_validate_suite(suite: Suite) -> list[Problem]:
    return [] if suite.tasks else [Problem("a suite needs a task", "tasks")]


@hookimpl
def harness_suite_started(event: SuiteStarted) -> None:
    print(event.suite, event.runs)


@hookimpl
def harness_suite_ended(event: SuiteEnded) -> None:
    print(event.suite, event.exit_code)


@hookimpl
def harness_jobs_ended(event: JobsEnded) -> None:
    print(event.ended, event.total)


@hookimpl
def harness_preparing(event: Preparing) -> None:
    print(event.what, event.done)


@hookimpl
def harness_waiting(event: Waiting) -> None:
    print(event.what, event.owner_host)


@hookimpl
def harness_run_started(event: RunStarted) -> None:
    print(event.run, event.steps)


@hookimpl
def harness_step(event: StepLogged) -> None:
    print(event.run, event.losses["loss"])


@hookimpl
def harness_epoch_scored(event: EpochScored) -> None:
    print(event.run, event.point.score)


@hookimpl
def harness_run_finished(event: RunFinished) -> None:
    print(event.run, event.score)


@hookimpl
def harness_run_failed(event: RunFailed) -> None:
    print(event.run, event.error)
