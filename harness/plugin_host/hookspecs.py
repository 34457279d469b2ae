"""Hook specifications. Hooks register objects, validate suites, add report sections and observe runs.

A plugin implements a hook with a function of the same name, marked with `harness.hookimpl`. It may omit arguments. No
hook is called per batch.

Of plugins that register the same name, one that the user named provides it, else one of kd-harness, else the first by
the name of its entry point; the name of the others is left out. Two that the user named are an error.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from harness.analysis.summary import Summary
    from harness.api.engine import Engine
    from harness.api.errors import Problem
    from harness.api.events import (
        EpochScored,
        JobsEnded,
        Preparing,
        RunFailed,
        RunFinished,
        RunStarted,
        StepLogged,
        SuiteEnded,
        SuiteStarted,
        Waiting,
    )
    from harness.api.latency_backend import Backend
    from harness.api.method import Method
    from harness.api.metric import MetricFactory
    from harness.api.report import Reporter, Section
    from harness.api.task import Task
    from harness.api.tracker import TrackerFactory
    from harness.resolution.suite import Suite

hookspec = pluggy.HookspecMarker("harness")


@hookspec
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    """Register methods: call ``register(MyMethod)`` for each."""


@hookspec
def harness_register_tasks(register: Callable[[Task], None]) -> None:
    """Register tasks: call ``register(task)`` for each."""


@hookspec
def harness_register_metrics(register: Callable[[str, MetricFactory], None]) -> None:
    """Register metrics: call ``register(name, factory)`` for each; ``factory()`` returns a `harness.api.metric.Metric`.

    Tasks refer to metrics by name.
    """


@hookspec
def harness_register_latency_backends(register: Callable[[str, Backend], None]) -> None:
    """Register latency backends: call ``register(name, backend)`` for each `harness.api.latency_backend.Backend`.

    Suites list them in ``latency.backends``.
    """


@hookspec
def harness_register_engines(register: Callable[[str, Engine], None]) -> None:
    """Register engines, which execute the jobs of a suite: call ``register(name, engine)`` for each.

    An engine is a function of a `harness.api.engine.Execution`; ``harness run --engine name`` selects it.
    """


@hookspec
def harness_register_trackers(register: Callable[[str, TrackerFactory], None]) -> None:
    """Register trackers, which record runs: call ``register(name, factory)`` for each.

    ``factory(folder)`` returns an observer that writes to that folder, or to a server; see `harness.api.tracker`.
    Suites list trackers in ``tracking``; ``harness run --track name`` adds one.
    """


@hookspec
def harness_register_published(register: Callable[[Path], None]) -> None:
    """Register files of published figures: call ``register(path)`` for each YAML file.

    `harness.config.published_figures` has the schema. The stem of the file is the name of the source, which suites
    list in ``published``. The file is read when a suite selects it.
    """


@hookspec
def harness_register_reporters(register: Callable[[str, Reporter], None]) -> None:
    """Register formats of the leaderboard: call ``register(name, reporter)`` for each.

    ``reporter(content)`` returns the text of ``leaderboard.<name>`` from a `harness.api.report.Content`. An installed
    plugin implements this hook in a module of the entry-point group ``harness.report``, like `harness_report_sections`.
    """


@hookspec
def harness_validate_suite(suite: Suite) -> list[Problem]:  # type: ignore[empty-body]
    """Return the problems of a suite. Any problem stops the suite before training."""


@hookspec
def harness_report_sections(results: Summary) -> list[Section]:  # type: ignore[empty-body]
    """Return sections of leaderboard.md. They must depend on `results` alone: same results, same bytes.

    An installed plugin implements this hook in a module of the entry-point group ``harness.report``, which must not
    import torch: `harness report` loads only the modules of this group.
    """


@hookspec
def harness_suite_started(event: SuiteStarted) -> None:
    """Observe that the execution of a suite starts."""


@hookspec
def harness_suite_ended(event: SuiteEnded) -> None:
    """Observe that the execution of a suite has ended; also after an interruption or an error."""


@hookspec
def harness_jobs_ended(event: JobsEnded) -> None:
    """Observe that jobs of the suite's graph have ended."""


@hookspec
def harness_preparing(event: Preparing) -> None:
    """Observe the progress of work that runs wait for: its start, its end, and at most one update per second."""


@hookspec
def harness_waiting(event: Waiting) -> None:
    """Observe that another process builds something that this execution needs. Sent once for each owner."""


@hookspec
def harness_run_started(event: RunStarted) -> None:
    """Observe that a run starts or resumes training."""


@hookspec
def harness_step(event: StepLogged) -> None:
    """Observe the losses of a run, every `training.log_every` steps."""


@hookspec
def harness_epoch_scored(event: EpochScored) -> None:
    """Observe the score of a student at the end of an epoch, in suites with a selection of the best epoch."""


@hookspec
def harness_run_finished(event: RunFinished) -> None:
    """Observe that a run was trained, scored and stored."""


@hookspec
def harness_run_failed(event: RunFailed) -> None:
    """Observe that a run failed and its failure was stored."""
