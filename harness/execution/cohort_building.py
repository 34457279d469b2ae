"""Builds and trains cohorts of students, on tasks and on text.

A cohort that does not fit into memory is halved, and a run that cannot be built fails alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from harness.api.errors import one_line
from harness.execution import cohort_driver, device_faults, run_records
from harness.execution.cohort_driver import FinishedRun
from harness.execution.context import JobContext
from harness.models.memory_errors import ran_out_of_memory
from harness.planning.jobs import RunJob, TextStageJob
from harness.storage.disk_errors import is_disk_error
from harness.training import micro_batching
from harness.training.cohort import Cohort
from harness.training.run import Run

log = logging.getLogger("harness")

Job = TypeVar("Job", bound=RunJob | TextStageJob)


@dataclass
class BuiltRuns(Generic[Job]):
    """The runs of the jobs of a cohort.

    Attributes:
        runs: the runs that could be built.
        jobs: their jobs, by key.
        failed: the other jobs, with their errors.
    """

    runs: list[Run] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    failed: list[tuple[Job, str]] = field(default_factory=list)

    def add(self, job: Job, make: Callable[[Job], Run]) -> None:
        """Build the run of a job. An exception fails this job only; see `fail`."""
        try:
            run = make(job)
        except (Exception, SystemExit) as error:
            self.fail(job, error)
        else:
            if run.error is not None:  # now: the next run would get the blame for a GPU that cannot be used
                device_faults.check(str(run.id), run.error)
            self.runs.append(run)
            self.jobs[run.id.key] = job

    def fail(self, job: Job, error: BaseException) -> None:
        """Note that a job cannot be built. Raises the error if the disk or lack of memory causes it.

        Raises:
            DeviceError: the GPU cannot be used any more.
        """
        if is_disk_error(error) or ran_out_of_memory(error):
            raise error
        log.debug("a run could not be built", exc_info=error)
        device_faults.check(str(run_records.run_id(job)), one_line(error))
        self.failed.append((job, f"before step 1: {one_line(error)}"))


def train(
    jobs: Sequence[Job],
    build: Callable[[Sequence[Job]], tuple[Cohort, BuiltRuns[Job]]],
    no_room: Callable[[Job, str], str],
    checkpoint_of: Callable[[Run], Path],
    context: JobContext,
) -> Iterator[tuple[Job, FinishedRun | str]]:
    """Train the runs of jobs in cohorts, and yield each job with its run as it ends, or why its run could not be built.

    If the models of all runs do not fit into memory together, the jobs are split in half. Runs that the cohort defers
    for lack of memory continue in a cohort of their own.

    Args:
        jobs: jobs with the same batches.
        build: builds the cohort of some of them, with runs that are restored from their checkpoints.
        no_room: returns the error of a job whose models do not fit alone, from the error that was raised.
        checkpoint_of: returns the path of the checkpoint of a run.
        context: the environment of the jobs.

    Raises:
        Interrupted: the process was asked to stop; unfinished runs have checkpoints.
    """
    parts = [list(jobs)] if jobs else []
    while parts:
        part = parts.pop(0)
        try:
            with micro_batching.convert_memory_errors():
                cohort, built = build(part)
        except micro_batching.InsufficientMemory as error:
            if len(part) == 1:
                yield part[0], no_room(part[0], str(error))
            else:
                middle = len(part) // 2
                parts[:0] = [part[:middle], part[middle:]]
            continue
        yield from built.failed
        for finished in cohort_driver.train(cohort, checkpoint_of, context):
            yield built.jobs[finished.run.id.key], finished
        if cohort.deferred:
            parts.insert(0, [built.jobs[run.id.key] for run in cohort.deferred])
        del cohort, built  # frees their models before those of the next cohort are loaded
