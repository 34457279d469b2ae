"""Share a job graph among workers: split cohorts that would leave workers idle, and order jobs longest first."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate

from harness.planning.job_graph import Job, JobGraph
from harness.planning.jobs import RunJob

GAIN = 0.02
"""Minimum fraction by which splitting a cohort must shorten the schedule."""

WORTH_SPLITTING = 0.25
"""A cohort is split only if it takes more than this fraction of the mean time of a worker."""


@dataclass(frozen=True)
class Slot:
    """A job in a schedule: the worker (from 0) that executes it, and its estimated start and end in seconds."""

    job: Job
    worker: int
    start: float
    end: float


def priority(job: Job) -> tuple[float, str]:
    """Sort key that puts the longest job first."""
    return -job.seconds, job.key


def schedule(graph: JobGraph, workers: int, *, done: Collection[str] = ()) -> list[Slot]:
    """Simulate the execution by `workers` equal workers, each of which takes the longest ready job.

    Args:
        graph: the graph.
        workers: number of workers.
        done: keys of jobs that are done.

    Returns:
        The jobs that are not done, in the order in which they start.
    """
    jobs = [job for job in graph.jobs if job.key not in done]
    waiting = {job.key: len(set(graph.dependencies(job)).difference(done)) for job in jobs}
    dependents: dict[str, list[Job]] = {}
    for job in jobs:
        for key in graph.dependencies(job):
            dependents.setdefault(key, []).append(job)
    ready = [(*priority(job), job) for job in jobs if not waiting[job.key]]
    heapq.heapify(ready)
    idle = list(range(workers))
    running: list[tuple[float, int, Job]] = []
    slots: list[Slot] = []
    now = 0.0
    while ready or running:
        while ready and idle:
            *_, job = heapq.heappop(ready)
            worker = heapq.heappop(idle)
            slots.append(Slot(job, worker, now, now + job.seconds))
            heapq.heappush(running, (now + job.seconds, worker, job))
        now, worker, job = heapq.heappop(running)
        heapq.heappush(idle, worker)
        for dependent in dependents.get(job.key, ()):
            waiting[dependent.key] -= 1
            if not waiting[dependent.key]:
                heapq.heappush(ready, (*priority(dependent), dependent))
    return slots


def makespan(graph: JobGraph, workers: int) -> float:
    """Estimated time until all jobs have ended, in seconds."""
    return max((slot.end for slot in schedule(graph, workers)), default=0.0)


def share(graph: JobGraph, workers: int, cohort: Callable[[Sequence[RunJob]], Job]) -> JobGraph:
    """Split cohorts where that shortens the schedule of `workers` workers.

    Each part of a cohort runs its teachers itself unless their outputs are cached, which its estimated time includes.

    Args:
        graph: the graph of a plan.
        workers: number of workers.
        cohort: makes the job of a cohort from its runs.
    """
    if workers == 1:
        return graph
    best = makespan(graph, workers)
    while True:
        mean = sum(job.seconds for job in graph.jobs) / workers
        candidates = [job for job in graph.jobs if job.kind == "cohort" and len(job.artifacts) > 1]
        for job in sorted(candidates, key=priority):
            if job.seconds < WORTH_SPLITTING * mean:
                return graph
            split = _replace(graph, job, [cohort(part) for part in _halves(job)])
            shorter = makespan(split, workers)
            if shorter < best * (1 - GAIN):
                graph, best = split, shorter
                break
        else:
            return graph


def _halves(job: Job) -> tuple[list[RunJob], list[RunJob]]:
    """Split the runs of a cohort, in order, into two parts of about the same estimated time."""
    runs = [artifact.work for artifact in job.artifacts if isinstance(artifact.work, RunJob)]
    elapsed = list(accumulate(artifact.seconds for artifact in job.artifacts))
    middle = next(index for index, seconds in enumerate(elapsed, start=1) if seconds >= elapsed[-1] / 2)
    middle = min(middle, len(runs) - 1)
    return runs[:middle], runs[middle:]


def _replace(graph: JobGraph, job: Job, parts: Sequence[Job]) -> JobGraph:
    position = graph.jobs.index(job)
    return JobGraph((*graph.jobs[:position], *parts, *graph.jobs[position + 1 :]))
