"""Every hook. Hooks find things and observe things; none is called per batch.

A plugin implements a hook with a function of the same name, marked with `harness.hookimpl`; it may leave out
arguments it does not read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from harness.analysis.summary import Summary
    from harness.api.errors import Problem
    from harness.api.events import Preparing, RunFailed, RunFinished, RunStarted, StepLogged
    from harness.api.latency_backend import Backend
    from harness.api.method import Method
    from harness.api.report import Reporter, Section
    from harness.api.task import Task
    from harness.resolution.suite import Suite

hookspec = pluggy.HookspecMarker("harness")


@hookspec
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    """Call ``register(MyMethod)`` for every method that the plugin brings. A name that is taken is an error."""


@hookspec
def harness_register_tasks(register: Callable[[Task], None]) -> None:
    """Call ``register(task)`` for every task that the plugin brings. A name that is taken is an error."""


@hookspec
def harness_register_metrics(register: Callable[[str, Callable[[], Any]], None]) -> None:
    """Call ``register(name, factory)`` for every metric; ``factory()`` gives an `evaluate.Metric`.

    A task names its metrics by these names; see `harness.metrics.builtin_metrics` for what a metric is given.
    """


@hookspec
def harness_register_latency_backends(register: Callable[[str, Backend], None]) -> None:
    """Call ``register(name, backend)`` for every way to run models whose latency is to be measured, an object as
    `harness.api.latency_backend.Backend` says. A suite names it in ``latency.backends``. A duplicate name is an
    error."""


@hookspec
def harness_register_published(register: Callable[[Path], None]) -> None:
    """Call ``register(path)`` for every YAML file of published figures, in the form that
    `harness.config.published_figures` reads. A board shows them beside its own rows. The name of the
    source, by which suites choose it, is the file's name without its ending. A duplicate name is an error. The file is
    read when a suite chooses it."""


@hookspec
def harness_register_reporters(register: Callable[[str, Reporter], None]) -> None:
    """Call ``register(name, reporter)`` for every format of the leaderboard: ``reporter(content)`` returns the text of
    ``leaderboard.<name>``, from a `harness.api.report.Content` alone. A duplicate name is an error.

    An installed plugin names its module as one with `harness_report_sections` does.
    """


@hookspec
def harness_validate_suite(suite: Suite) -> list[Problem]:  # type: ignore[empty-body]
    """Problems that the plugin sees in a suite; any problem stops the suite before anything is trained."""


@hookspec
def harness_report_sections(results: Summary) -> list[Section]:  # type: ignore[empty-body]
    """Sections of leaderboard.md, each a `harness.api.report.Section`, made from the results alone, so that the same
    results give the same bytes.

    An installed plugin names the module that has this hook under entry-point group ``harness.report``, and the module
    imports no torch: `harness report` loads these modules and no others.
    """


@hookspec
def harness_preparing(event: Preparing) -> None:
    """Work that runs wait for begins, goes on (once a second at most), or is over."""


@hookspec
def harness_run_started(event: RunStarted) -> None:
    """A run begins to train (or resumes)."""


@hookspec
def harness_step(event: StepLogged) -> None:
    """A run's losses, every `log_every` steps."""


@hookspec
def harness_run_finished(event: RunFinished) -> None:
    """A run is trained, scored and stored."""


@hookspec
def harness_run_failed(event: RunFailed) -> None:
    """A run has failed, and its failure is stored."""
