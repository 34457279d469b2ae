"""Share a job graph among workers: split cohorts that would leave workers idle, and order jobs longest first."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate

from harness.planning.job_graph import Job, JobGraph
from harness.planning.jobs import RunJob

GAIN = 0.02
"""Minimum fraction by which splitting a cohort must shorten the schedule."""

DIVISORS = (1, 2, 4)
"""Cohorts are split into parts of the mean time of a worker, or of a fraction of it."""


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
    best, shortest = graph, makespan(graph, workers) * (1 - GAIN)
    mean = sum(job.seconds for job in graph.jobs) / workers
    for divisor in DIVISORS if workers > 1 else ():
        split = JobGraph(tuple(part for job in graph.jobs for part in _split(job, mean / divisor, cohort)))
        seconds = makespan(split, workers)
        if seconds < shortest:
            best, shortest = split, seconds * (1 - GAIN)
    return best


def _split(job: Job, seconds: float, cohort: Callable[[Sequence[RunJob]], Job]) -> list[Job]:
    """Split the runs of a cohort, in order, into parts of about the estimated time `seconds`."""
    runs = [artifact.work for artifact in job.artifacts if isinstance(artifact.work, RunJob)]
    count = min(math.ceil(job.seconds / seconds), len(runs))
    if job.kind != "cohort" or count < 2:
        return [job]
    ends = list(accumulate(artifact.seconds for artifact in job.artifacts))
    parts: list[list[RunJob]] = [[] for _ in range(count)]
    for run, artifact, end in zip(runs, job.artifacts, ends, strict=True):
        middle = end - artifact.seconds / 2
        parts[min(count - 1, int(middle / ends[-1] * count))].append(run)
    return [cohort(part) for part in parts if part]
