"""Trains a cohort from its checkpoints to the end; used for students, teachers and text stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.api.engine import Interrupted
from harness.api.errors import one_line
from harness.api.events import RunFinished
from harness.config.training_schema import TrainingSpec
from harness.execution import device_faults, run_checkpoints, run_records
from harness.execution.context import JobContext
from harness.metrics.task_scores import TaskScores
from harness.plugin_host.host import Host
from harness.storage import provenance
from harness.storage.disk_errors import DiskError
from harness.storage.records import Cost, Provenance
from harness.training.batch_stream import BatchStream, TokenizedTask
from harness.training.cohort import Cohort
from harness.training.run import Run


@dataclass(frozen=True)
class FinishedRun:
    """A run that has completed or failed.

    Attributes:
        run: the run.
        cohort_size: number of runs in its cohort, without those that completed before an interruption.
        started: when the training of the cohort began (ISO 8601).
    """

    run: Run
    cohort_size: int
    started: str

    def cost(self, evaluation_seconds: float = 0.0) -> Cost:
        """The cost of the run. `evaluation_seconds` is the time of scoring it after its last step."""
        return run_records.cost(
            self.run, cohort_size=self.run.cost.cohort_size or self.cohort_size, evaluation_seconds=evaluation_seconds
        )

    def provenance(self) -> Provenance:
        """The provenance of the result, with the current time as its end."""
        return run_records.provenance_of(self.run.device, self.started)

    def scored(self, score: Callable[[], TaskScores]) -> tuple[TaskScores | None, Cost]:
        """Score the run unless it has failed. Returns the scores, or None, and the cost of the run.

        An exception in `score` fails this run only, unless the disk or the GPU causes it: then it stops the suite.
        """
        began, scores = time.perf_counter(), None
        if self.run.error is None:
            try:
                scores = score()
            except DiskError:
                raise
            except (Exception, SystemExit) as error:
                device_faults.check(str(self.run.id), one_line(error))
                self.run.fail(error, f"scoring after step {self.run.position}")
        return scores, self.cost(time.perf_counter() - began)

    def notify(self, host: Host, scored: TaskScores | None, seconds: float) -> None:
        """Notify observers of the score or the failure."""
        if scored:
            event = RunFinished(self.run.id, scored.score, dict(scored.metrics), seconds)
            host.notify("harness_run_finished", event)
        else:
            run_records.announce_failure(host, self.run)


def batch_stream(
    tokenized: TokenizedTask,
    settings: TrainingSpec,
    *,
    data_seed: int,
    others: Mapping[str, TokenizedTask] | None = None,
) -> BatchStream:
    """Create the batch stream of the training settings. `others`: see `BatchStream`."""
    return BatchStream(
        tokenized,
        batch_size=settings.batch_size,
        token_budget=settings.token_budget,
        batching=settings.batching,
        data_seed=data_seed,
        others=others,
    )


def resume(runs: Iterable[Run], checkpoint_of: Callable[[Run], Path]) -> list[Run]:
    """Restore each run of a cohort from its checkpoint, if it has one."""
    runs = list(runs)
    for run in runs:
        if not run.ended:
            run_checkpoints.restore(run, checkpoint_of(run))
        run.cost.cohort_size = run.cost.cohort_size or len(runs)
    return runs


def train(cohort: Cohort, checkpoint_of: Callable[[Run], Path], context: JobContext) -> Iterator[FinishedRun]:
    """Train resumed runs to the end and yield each as it ends. A run is released when the next one is requested.

    Observers are notified of the start of all runs first. Runs that do not fit into memory together with the others are
    checkpointed and listed in `cohort.deferred`.

    Raises:
        Interrupted: the process was asked to stop; every unfinished run has a checkpoint.
        DeviceError: a run has failed, and the GPU cannot be used any more.
    """
    for run in cohort.runs:
        run_records.announce(context.host, run, cohort=len(cohort.runs))
    started = provenance.now()
    ended = cohort.train(stop=context.stop, checkpoint=lambda run: run_checkpoints.save(run, checkpoint_of(run)))
    for run in ended:
        if run.error is not None:
            device_faults.check(str(run.id), run.error)
        yield FinishedRun(run, len(cohort.runs), started)
        run.release()
    if context.stop() and not all(run.ended for run in cohort.runs):
        raise Interrupted
