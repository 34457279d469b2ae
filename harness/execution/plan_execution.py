"""The execution of a plan by an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from harness.api.engine import Interrupted
from harness.api.wording import counted
from harness.execution import leftover_checkpoints
from harness.execution.claims import Claims
from harness.execution.context import JobContext
from harness.execution.graph_progress import GraphProgress
from harness.execution.outcome import ExecutionOptions, Outcome
from harness.execution.remaining_jobs import remaining
from harness.execution.signals import stop_on_signals
from harness.planning import Plan
from harness.plugin_host.host import Host
from harness.storage.store import Store


class PlanExecution:
    """A plan that is to be executed. It is a `harness.api.engine.Execution`.

    Attributes:
        plan, store, host: the plan, where its results are stored, and the plugins.
        options: how it is executed.
    """

    def __init__(self, plan: Plan, store: Store, host: Host, options: ExecutionOptions | None = None) -> None:
        self.plan, self.store, self.host = plan, store, host
        self.options = options or ExecutionOptions()
        self._progress: GraphProgress | None = None

    def run(self, engine: PlanEngine) -> Outcome:
        """Execute the jobs by an engine.

        Raises:
            RuntimeError: the engine returned before all jobs had ended.
            Exception: see `harness.api.engine.Engine`.
        """
        try:
            engine(self)
        except Interrupted:
            outcome = self._progress.outcome if self._progress else Outcome()
            return replace(outcome, interrupted=True)
        if self._progress is None:
            raise RuntimeError("it returned without a call of execution.jobs()")
        if unfinished := self._progress.unfinished:
            raise RuntimeError(
                f"it returned before {counted(len(unfinished), 'job')} had ended, such as {unfinished[0].title!r}; "
                "build jobs until none is ready, or raise harness.api.engine.Interrupted"
            )
        return self._progress.outcome

    @contextmanager
    def jobs(self, *, workers: int | None = None, threads: int | None = None) -> Iterator[GraphProgress]:
        """Open the jobs that remain of the plan.

        Args:
            workers: number of workers that share the jobs. None: those of the options, or one.
            threads: CPU threads of each worker. None: those of this process.

        Raises:
            RuntimeError: they were opened before.
        """
        if self._progress is not None:
            raise RuntimeError("execution.jobs() was called twice")
        options = replace(self.options, workers=workers or self.options.workers or 1)
        with stop_on_signals() as stop, Claims() as claims:
            missing, graph = remaining(self.plan, self.store, options, workers=options.workers or 1, threads=threads)
            leftover_checkpoints.remove(self.store, claims)
            device, trust = torch.device(self.plan.device), self.plan.spec.trust_remote_code
            context = JobContext(self.store, self.host, device, trust, claims, stop)
            self._progress = GraphProgress(self.plan, graph, missing, context, options)
            yield self._progress


PlanEngine = Callable[[PlanExecution], None]
"""An engine. Every `harness.api.engine.Engine` is one; the built-in ones may use all of a `PlanExecution`."""
