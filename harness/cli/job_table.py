"""The jobs of a plan for `harness plan`: what is ready, what waits for what, and how workers would share them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from harness.api.wording import counted
from harness.reporting.formatting import duration

if TYPE_CHECKING:
    from harness.execution.job_states import JobState
    from harness.planning.job_graph import Job
    from harness.planning.scheduling import Slot

W = TypeVar("W")

SHOWN = 40
"""Rows of the table; `--json` lists all jobs."""

HEADER = ["job", "state", "estimate", "memory"]


@dataclass(frozen=True)
class JobPlan:
    """The unfinished jobs of a suite and their schedule for `workers` workers.

    `measured` is the ratio of measured to estimated time of runs that are done; None if there is none.
    """

    states: Sequence[JobState]
    slots: Sequence[Slot]
    workers: int
    measured: float | None

    @property
    def unfinished(self) -> list[JobState]:
        """The jobs that remain; none if only latency and report do, which `harness run` makes anew."""
        states = [state for state in self.states if state.state != "done"]
        return states if any(state.job.kind not in ("latency", "report") for state in states) else []

    def missing(self, kind: type[W]) -> list[W]:
        """The work of this kind that is not done, such as every `AugmentationJob`."""
        works = (artifact.work for state in self.unfinished for artifact in state.job.artifacts)
        return [work for work in works if isinstance(work, kind)]

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """The rows of the table. With several workers, a row says which worker would execute the job, and when."""
        slots = {slot.job.key: slot for slot in self.slots}
        for state in self.unfinished[:SHOWN]:
            job = state.job
            estimate = f"~{self._time(job.seconds)}"
            if self.workers > 1 and job.key in slots:
                slot = slots[job.key]
                estimate += f", worker {slot.worker + 1} after {self._time(slot.start)}"
            memory = f"{job.resources.memory_bytes / 1e9:.1f} GB" if job.resources.memory_bytes else ""
            yield _title(job), _describe(state), estimate, memory

    def lines(self) -> Iterator[str]:
        """Sentences below the table."""
        hidden = len(self.unfinished) - SHOWN
        if hidden > 0:
            yield f"... and {counted(hidden, 'more job')}; `harness plan --json` lists all."
        if self.unfinished and self.slots:
            total = sum(slot.job.seconds for slot in self.slots)
            end = max(slot.end for slot in self.slots)
            one = f"{self.workers} workers" if self.workers > 1 else "one worker"
            jobs = counted(len(self.unfinished), "job")
            basis = "Rough estimate, good for comparing jobs with each other."
            if self.measured is not None:
                basis = "Estimates are at the speed of the runs that are done."
            yield f"Estimate: {self._time(total)} of work in {jobs}, {self._time(end)} with {one}. {basis}"

    def _time(self, seconds: float) -> str:
        """The text of an estimated time, corrected by the measured speed."""
        return duration(seconds * (1.0 if self.measured is None else self.measured))

    def to_json(self) -> list[dict[str, object]]:
        """All jobs, the finished ones included."""
        slots = {slot.job.key: slot for slot in self.slots}
        return [{**_to_json(state), **_slot_to_json(slots.get(state.job.key))} for state in self.states]


def _title(job: Job) -> str:
    return f"cohort: {job.title}" if job.kind == "cohort" else job.title


def _describe(state: JobState) -> str:
    if state.state == "waiting":
        return f"waits for {_summary(state.waits_for)}"
    if state.state == "claimed":
        return f"claimed by {', '.join(map(str, state.owners))}"
    return state.state


def _summary(jobs: Sequence[Job]) -> str:
    first, *others = jobs
    return f"{first.title} and {len(others)} more" if others else first.title


def _to_json(state: JobState) -> dict[str, object]:
    job = state.job
    return {
        "key": job.key,
        "kind": job.kind,
        "title": job.title,
        "state": state.state,
        "waits_for": [needed.key for needed in state.waits_for],
        "claimed_by": [f"{owner.host}:{owner.process}" for owner in state.owners],
        "artifacts": [artifact.key for artifact in job.artifacts],
        "device": job.resources.device,
        "threads": job.resources.threads,
        "memory_gb": round(job.resources.memory_bytes / 1e9, 3),
        "exclusive": job.resources.exclusive,
        "estimated_seconds": round(job.seconds, 1),
    }


def _slot_to_json(slot: Slot | None) -> dict[str, object]:
    return {} if slot is None else {"worker": slot.worker, "estimated_start": round(slot.start, 1)}
