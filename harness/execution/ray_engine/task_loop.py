"""The loop of the driver: starts tasks, stores what workers report, and continues the jobs of workers that died.

A worker that cannot use its GPU any more counts as one that died.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.api.engine import Interrupted
from harness.api.errors import UserError
from harness.api.events import RunFailed, RunFinished, RunStarted
from harness.execution.device_faults import DeviceError
from harness.execution.graph_progress import GraphProgress
from harness.execution.ray_engine import transport
from harness.execution.ray_engine.artifact_files import files_of
from harness.execution.ray_engine.messages import Ended, Event, Message, Reply
from harness.execution.ray_engine.tasks import Tasks
from harness.planning.job_graph import Artifact, Job
from harness.planning.jobs import RunJob
from harness.storage import atomic_writes

log = logging.getLogger("harness")

POLL_SECONDS = 0.2
"""Time between two looks at messages and signals."""

MOST_DEATHS = 3
"""An artifact fails if its workers died this often without saving a later checkpoint in between."""


@dataclass
class _Attempt:
    """A task that runs.

    Attributes:
        job: its job.
        reply: reference to its reply.
        artifacts: the artifacts that have not ended, by key.
        started: whether the worker has reported.
        stopping: whether it was asked to save its state and stop.
        step: the latest step at which one of its runs started: 0, or that of a checkpoint.
    """

    job: Job
    reply: Any
    artifacts: dict[str, Artifact]
    started: bool = False
    stopping: bool = False
    step: int = 0


@dataclass
class TaskLoop:
    """Executes the jobs of a graph by tasks.

    Attributes:
        progress: the progress of the graph.
        tasks: starts tasks.
        workers: the most tasks that run at the same time.
    """

    progress: GraphProgress
    tasks: Tasks
    workers: int
    _running: dict[int, _Attempt] = field(default_factory=dict)
    _numbers: Any = field(default_factory=itertools.count)
    _deaths: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Artifact, and step from which its worker continued -> number of workers that died."""

    def execute(self) -> None:
        """Execute all jobs. Returns when each artifact has been built or has failed, here or elsewhere.

        Raises:
            Interrupted: the process was asked to stop, and the workers have saved their states.
            UserError, OSError: a fault of the machine of the driver or a worker. The workers have saved their states.
        """
        try:
            while ready := self.progress.ready():
                if not self._start(ready):
                    self._wait_for_room()
        except Interrupted:
            if (failure := self._interrupt()) is not None:
                raise failure from None
            raise
        except (UserError, OSError):
            self._interrupt()
            raise

    def _start(self, ready: Sequence[Job]) -> bool:
        """Start as many jobs as there are idle workers. Returns whether a job has ended because nothing is missing."""
        ended = len(self.progress.ended)
        for shared, job in itertools.product((False, True), ready):  # see `GraphProgress.build_one`
            if len(self._running) >= self.workers:
                break
            if not any(attempt.job.key == job.key for attempt in self._running.values()):
                for part in self._parts(self.progress.take(job, shared=shared)):
                    self._submit(job, part)
        return len(self.progress.ended) > ended

    def _parts(self, artifacts: Sequence[Artifact]) -> list[list[Artifact]]:
        """All artifacts together; each alone after two deaths, so that one that kills its worker fails alone."""
        if any(self._deaths_of(artifact.key) > 1 for artifact in artifacts):
            return [[artifact] for artifact in artifacts]
        return [list(artifacts)] if artifacts else []

    def _deaths_of(self, key: str) -> int:
        return sum(count for (artifact, _), count in self._deaths.items() if artifact == key)

    def _submit(self, job: Job, artifacts: Sequence[Artifact]) -> None:
        number = next(self._numbers)
        reply = self.tasks.start(number, job, artifacts)
        self._running[number] = _Attempt(job, reply, {artifact.key: artifact for artifact in artifacts})

    def _wait_for_room(self) -> None:
        """Wait for a moment, and until a worker is idle: what is ready is read from files, and is not needed before."""
        self._wait()
        while len(self._running) >= self.workers and not self.progress.stop():
            self._wait()

    def _wait(self) -> None:
        """Wait for a moment, then handle messages and tasks that have ended."""
        ray = self.tasks.ray
        replies = {attempt.reply: number for number, attempt in self._running.items()}
        ended = []
        if replies:
            ended, _ = ray.wait(list(replies), num_returns=len(replies), timeout=POLL_SECONDS)
        else:  # other processes have claimed what is ready
            time.sleep(POLL_SECONDS)
        for message in ray.get(self.tasks.mailbox.take.remote()):
            self._receive(message)
        for reply in ended:
            self._end(self._running.pop(replies[reply]))
        # Another process builds what was lost. The rest of such a job continues in a new task, from its checkpoints.
        self._stop([number for number, attempt in self._running.items() if self._lost(attempt)])

    def _lost(self, attempt: _Attempt) -> set[str]:
        """Keys of the artifacts of an attempt that another process has claimed, because this one was suspended."""
        return {key for key in attempt.artifacts if self.progress.lost_a_claim([key])}

    def _receive(self, message: Message) -> None:
        """Handle a message of a worker, except what concerns artifacts that another process builds now."""
        attempt = self._running.get(message.attempt)
        if attempt is None:
            return
        attempt.started = True
        lost = self._lost(attempt)
        kept = [artifact for key, artifact in attempt.artifacts.items() if key not in lost]
        for files in (files_of(artifact, self.tasks.roots) for artifact in kept):
            own = {name: content for name, content in message.checkpoints.items() if files.has_checkpoint(name)}
            transport.write(own, self.tasks.roots)
            # A trial is in the journal, which is written now. Other results may not have arrived: see `_store`.
            self._forget(filter(files.has_trial_checkpoint, message.removed))
        is_lost = message.ended is not None and message.ended.artifact in lost
        if message.ended is not None and not is_lost:
            self._store(attempt.artifacts.pop(message.ended.artifact), message.ended, attempt.job)
        for event in message.events:
            self._notify(event, attempt, is_lost)

    def _store(self, artifact: Artifact, ended: Ended, job: Job) -> None:
        """Store the files of an artifact that has ended. A completed run is not replaced."""
        builder = self.progress.builders[job.kind]
        if not (isinstance(artifact.work, RunJob) and builder.is_done(artifact)):
            transport.write(ended.files, self.tasks.roots)
        self.progress.finish(artifact, ended.error)
        if ended.error is None or isinstance(artifact.work, RunJob):
            files = files_of(artifact, self.tasks.roots)
            self._forget(name for name in files.checkpoints if name not in files.results)  # a journal stays

    def _forget(self, checkpoints: Iterable[str]) -> None:
        for name in checkpoints:
            atomic_writes.forget(self.tasks.roots.path(name))

    def _notify(self, event: Event, attempt: _Attempt, is_lost: bool) -> None:
        """Pass an event to the observers, except the end of a run whose results were lost, so not stored."""
        hook, content = event
        if isinstance(content, RunStarted):
            attempt.step = max(attempt.step, content.step)
        if isinstance(content, tuple):
            log.log(*content)
        elif not (is_lost and isinstance(content, RunFinished | RunFailed) and content.run.role != "trial"):
            self.progress.context.host.notify(hook, content)

    def _end(self, attempt: _Attempt) -> None:
        """Handle the reply of a task. What it has not built is ready again."""
        ray = self.tasks.ray
        try:
            reply: Reply = ray.get(attempt.reply)
        except ray.exceptions.TaskCancelledError:
            reply = Reply()
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(error, ray.exceptions.RayTaskError) and not isinstance(
                cause, MemoryError | DeviceError | ray.exceptions.RayError
            ):
                raise UserError(f"a worker failed: {_reason(error)}; is the same kd-harness on every node?") from error
            self._died(attempt, _reason(error))
        else:
            if reply.errors:
                raise UserError(*(f"on a node of the Ray cluster: {error}" for error in reply.errors))
            self.tasks.send(reply.lacks)
        self.progress.release(attempt.artifacts)

    def _died(self, attempt: _Attempt, reason: str) -> None:
        """Count a death. Artifacts whose workers died too often fail; the others continue from their checkpoints."""
        if self.progress.stop() or attempt.stopping:
            return
        log.warning("a worker died and is replaced (%s): %s", attempt.job.title, reason)
        for key, artifact in list(attempt.artifacts.items()):
            self._deaths[key, attempt.step] += 1
            if (deaths := self._deaths[key, attempt.step]) >= MOST_DEATHS:
                self.progress.finish(artifact, f"its worker died {deaths} times; the last time: {reason}")
                del attempt.artifacts[key]

    def _interrupt(self) -> UserError | OSError | None:
        """Ask the workers to save their states, and wait until all have ended. Returns the first error meanwhile."""
        failure: UserError | OSError | None = None
        self._stop(self._running)
        while self._running:
            try:
                self._wait()
            except (UserError, OSError) as error:  # such as a full disk, which other workers meet as well
                failure = failure or error
        return failure

    def _stop(self, numbers: Iterable[int]) -> None:
        """Ask the workers of attempts to save their states and stop; cancel the tasks that have not started."""
        ray = self.tasks.ray
        running = {number: self._running[number] for number in numbers if not self._running[number].stopping}
        if running:
            ray.get(self.tasks.mailbox.stop.remote(list(running)))
        for attempt in running.values():
            attempt.stopping = True
            if not attempt.started:
                ray.cancel(attempt.reply)


def _reason(error: Exception) -> str:
    """The exception in one line; of a traceback, the last line. A `DeviceError` names the run that met it."""
    if isinstance(cause := getattr(error, "cause", None), DeviceError):
        return str(cause)
    lines = [line.strip() for line in str(getattr(error, "cause", None) or error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
