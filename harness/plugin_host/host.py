"""The plugin host: loads plugins, validates and stores what they register, and calls their hooks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from harness.api.errors import Problem, UserError, describe, problem_list
from harness.plugin_host import discovery, hookspecs
from harness.plugin_host.contributions import ContributionKey
from harness.plugin_host.discovery import GROUP, REPORT_GROUP, DiscoveredPlugin
from harness.plugin_host.hook_checks import HookManager, hook_problems, hooks
from harness.plugin_host.plugin_candidates import Candidate, candidates

if TYPE_CHECKING:  # these import torch
    from harness.api.latency_backend import Backend
    from harness.api.method import Method
    from harness.api.metric import MetricFactory
    from harness.api.report import Reporter
    from harness.api.task import Task
    from harness.api.tracker import TrackerFactory
    from harness.execution.plan_execution import PlanEngine
    from harness.resolution.suite import Suite

log = logging.getLogger("harness")

Result = TypeVar("Result")


@dataclass
class PluginInfo:
    """A plugin and the names it registers, for `harness list plugins`.

    `error`: why it could not be loaded. `left_out`: messages about what another installed plugin provides in its place,
    `overridden`: about what a plugin that the user named provides.
    """

    name: str
    origin: str
    error: str | None = None
    left_out: list[str] = field(default_factory=list)
    overridden: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    reporters: list[str] = field(default_factory=list)
    latency_backends: list[str] = field(default_factory=list)
    engines: list[str] = field(default_factory=list)
    trackers: list[str] = field(default_factory=list)
    sections: bool = False


class Host:
    """The loaded plugins and what they register, by name, in a fixed order.

    Attributes:
        methods, tasks, metrics, reporters, latency_backends, engines, trackers: registered objects by name.
        published: paths of files of published figures by source name. The files have not been read.
        plugins: all plugins, including those that could not be loaded.
        broken: why an installed plugin could not be loaded, by plugin. An error only if a suite needs the plugin.
        paths: absolute paths of the plugins that a user named: a host created from them in another process is equal.
    """

    def __init__(self) -> None:
        self.methods: dict[str, type[Method]] = {}
        self.tasks: dict[str, Task] = {}
        self.metrics: dict[str, MetricFactory] = {}
        self.published: dict[str, Path] = {}
        self.reporters: dict[str, Reporter] = {}
        self.latency_backends: dict[str, Backend] = {}
        self.engines: dict[str, PlanEngine] = {}
        self.trackers: dict[str, TrackerFactory] = {}
        self.plugins: list[PluginInfo] = []
        self.broken: dict[str, str] = {}
        self.paths: tuple[str, ...] = ()
        self._manager = HookManager()
        self._manager.add_hookspecs(hookspecs)
        self._origins: dict[ContributionKey, str] = {}
        self._ranks: dict[str, int] = {}
        self._failed_observers: set[int] = set()
        self._receiver: Callable[[str, object], None] | None = None

    @classmethod
    def create(cls, paths: Sequence[str | Path] = ()) -> Host:
        """Create a host with the installed plugins and those at `paths` (.py files or folders).

        Raises `UserError` with all problems of the plugins at `paths`. Those of installed plugins are in `broken`. Of
        plugins that register the same name, one at `paths` comes first, then one of kd-harness.
        """
        host = cls._of([*discovery.installed(GROUP, REPORT_GROUP), *discovery.at_paths(paths)])
        host.paths = tuple(str(Path(path).expanduser().resolve()) for path in paths)
        return host

    @classmethod
    def reporting(cls, paths: Sequence[str | Path] = ()) -> Host:
        """Create a host with report plugins alone, without importing torch. Raises `UserError` like `create`."""
        return cls._of([*discovery.installed(REPORT_GROUP), *discovery.at_paths(paths)])

    @classmethod
    def at(cls, paths: Sequence[str | Path]) -> Host:
        """Create a host with the plugins at `paths` alone. Raises `UserError` like `create`."""
        return cls._of(discovery.at_paths(paths))

    @classmethod
    def _of(cls, plugins: Iterable[DiscoveredPlugin]) -> Host:
        host = cls()
        found = candidates(plugins)
        if problems := [problem for plugin in found if plugin.discovered.named for problem in plugin.problems]:
            raise UserError(*problems)
        for plugin in found:
            host._add(plugin)
        return host

    @property
    def hook(self) -> pluggy.HookRelay:
        """Call a hook of all plugins: ``host.hook.harness_validate_suite(suite=suite)``."""
        return self._manager.hook

    def origin_of(self, kind: str, name: str) -> str:
        """Return the plugin that registered `name`; `kind` is "method", "published source", ..."""
        return self._origins[kind, name]

    def is_shipped(self, kind: str, name: str) -> bool:
        """Whether a plugin of kd-harness itself registered `name`; `kind` as in `origin_of`."""
        return self._ranks.get(self._origins.get((kind, name), "")) == discovery.SHIPPED

    @property
    def has_own_reports_only(self) -> bool:
        """Whether all formats and sections of reports are those of kd-harness itself."""
        sections = self.hook.harness_report_sections.get_hookimpls()
        origins = [*(self.origin_of("format", name) for name in self.reporters), *(s.plugin_name for s in sections)]
        return all(self._ranks.get(origin) == discovery.SHIPPED for origin in origins)

    def add_observer(self, observer: object, title: str = "") -> None:
        """Register an object whose methods marked with `hookimpl` are called from now on. Raises `UserError`.

        `title`: what messages call it; by default the name of its class.
        """
        title = title or f"the observer {type(observer).__name__}"
        if problems := hook_problems(observer, title):
            raise UserError(*problems)
        number = next(n for n in count(1) if not self._manager.has_plugin(_numbered(title, n)))
        self._manager.register(observer, _numbered(title, number))

    def validate(self, suite: Suite) -> list[Problem]:
        """Return the problems that plugins find in a suite, and those of hooks that fail.

        A failing hook of another distribution than kd-harness is logged: its plugin may have nothing to do with the
        suite.
        """
        problems: list[Problem] = []
        for implementation in reversed(self.hook.harness_validate_suite.get_hookimpls()):
            try:
                found: Any = implementation.function(*([suite] if implementation.argnames else []))
                problems += problem_list(found)
            except (Exception, SystemExit) as error:
                message = f"harness_validate_suite of {implementation.plugin_name} failed: {describe(error)}"
                if self._ranks.get(implementation.plugin_name) == discovery.GUEST:
                    log.warning("%s", message)
                else:
                    problems.append(Problem(message, str(suite.path)))
        return problems

    def redirect(self, receiver: Callable[[str, object], None]) -> None:
        """Pass events to `receiver` instead of the observers: a worker sends them to its driver, which has those."""
        self._receiver = receiver

    def notify(self, hook: str, event: object) -> None:
        """Call an observer hook of all plugins. Exceptions are logged, once per plugin, and not raised."""
        if self._receiver is not None:
            self._receiver(hook, event)
            return
        for implementation in reversed(getattr(self.hook, hook).get_hookimpls()):
            try:
                implementation.function(*([event] if implementation.argnames else []))
            except (Exception, SystemExit) as error:
                if id(implementation.plugin) not in self._failed_observers:
                    self._failed_observers.add(id(implementation.plugin))
                    log.warning(
                        "%s failed in %s: %s; later failures of this observer are not shown",
                        hook,
                        implementation.plugin_name,
                        describe(error),
                    )
                    log.debug("the observer's traceback", exc_info=True)

    def collect_results(self, hook: str, subject: object, parse: Callable[[Any], Iterable[Result]]) -> list[Result]:
        """Call a hook of all plugins and collect the results, in the order in which the plugins were loaded.

        `parse` validates the result of one plugin and returns its items. If the hook or `parse` raises, the exception
        is logged and the result is skipped.
        """
        results: list[Result] = []
        for implementation in reversed(getattr(self.hook, hook).get_hookimpls()):
            try:
                results += parse(implementation.function(*([subject] if implementation.argnames else [])))
            except (Exception, SystemExit) as error:
                log.warning("%s failed in %s: %s", hook, implementation.plugin_name, describe(error))
                log.debug("the plugin's traceback", exc_info=True)
        return results

    def _add(self, candidate: Candidate) -> None:
        """Register a plugin with what is not left out, unless all of it is or it has problems."""
        discovered = candidate.discovered
        info = PluginInfo(discovered.name, discovered.origin)
        info.left_out, info.overridden = candidate.left_out, candidate.overridden
        self.plugins.append(info)
        if candidate.problems:
            info.error = self.broken[discovered.name] = "; ".join(problem.message for problem in candidate.problems)
        if not candidate.is_loaded:
            return
        self._manager.register(discovered.plugin, discovered.origin)
        self._ranks[discovered.origin] = discovered.rank
        info.sections = "harness_report_sections" in dict(hooks(discovered.plugin))
        for contribution in candidate.contributions:
            self._origins[contribution.key] = discovered.origin
            getattr(self, contribution.kind.attribute)[contribution.name] = contribution.value
            getattr(info, contribution.kind.attribute).append(contribution.name)


def _numbered(title: str, number: int) -> str:
    return f"{title} ({number})" if number > 1 else title
