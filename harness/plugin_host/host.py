"""The plugin host: loads plugins, checks what they bring, and tells observers what happens."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from harness.api.errors import Problem, UserError, nearest
from harness.plugin_host import contribution_checks, discovery, hookspecs
from harness.plugin_host.discovery import GROUP, REPORT_GROUP, DiscoveredPlugin, describe

if TYPE_CHECKING:  # they import torch, which only a host that has loaded plugins needs
    from harness.api.latency_backend import Backend
    from harness.api.method import Method
    from harness.api.report import Reporter
    from harness.api.task import Task

log = logging.getLogger("harness")

HOOKS = {name: function for name, function in vars(hookspecs).items() if name.startswith("harness_")}

REPORT_HOOKS = {"harness_report_sections", "harness_register_reporters"}

Answer = TypeVar("Answer")

MetricFactory = Callable[[], Any]
"""Gives an `evaluate.Metric`."""


@dataclass
class PluginInfo:
    """A plugin as `harness list plugins` shows it. `error`: why nothing of it can be used."""

    name: str
    origin: str
    error: str | None = None
    methods: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    reporters: list[str] = field(default_factory=list)
    latency_backends: list[str] = field(default_factory=list)
    sections: bool = False


@dataclass
class _Contributions:
    """What one plugin registers, kept apart until all of it has been checked."""

    methods: list[Any] = field(default_factory=list)
    tasks: list[Any] = field(default_factory=list)
    metrics: list[tuple[Any, Any]] = field(default_factory=list)
    published: list[Path] = field(default_factory=list)
    reporters: list[tuple[Any, Any]] = field(default_factory=list)
    latency_backends: list[tuple[Any, Any]] = field(default_factory=list)


class Host:
    """All that plugins bring, by name, in a fixed order.

    `published` has the files of published figures, by the names of their sources; nothing has read them yet.
    `broken` tells, by plugin, why an installed plugin cannot be used: a warning, unless a suite needs it.
    """

    def __init__(self) -> None:
        self.methods: dict[str, type[Method]] = {}
        self.tasks: dict[str, Task] = {}
        self.metrics: dict[str, MetricFactory] = {}
        self.published: dict[str, Path] = {}
        self.reporters: dict[str, Reporter] = {}
        self.latency_backends: dict[str, Backend] = {}
        self.plugins: list[PluginInfo] = []
        self.broken: dict[str, str] = {}
        self._manager = pluggy.PluginManager("harness")
        self._manager.add_hookspecs(hookspecs)
        self._origins: dict[tuple[str, str], str] = {}
        self._complained: set[int] = set()

    @classmethod
    def create(cls, paths: Sequence[str | Path] = ()) -> Host:
        """A host with the installed plugins and those at `paths` (.py files or folders).

        Raises `UserError` with everything that is wrong with the plugins at `paths`, and for two plugins that
        register one name. What is wrong with an installed plugin is kept in `broken`.
        """
        return cls._of([*discovery.installed(), *discovery.installed(REPORT_GROUP), *discovery.at_paths(paths)])

    @classmethod
    def reporting(cls, paths: Sequence[str | Path] = ()) -> Host:
        """A host with no more plugins than a report needs, so without torch. Raises `UserError` as `create` does."""
        return cls._of([*discovery.installed(REPORT_GROUP), *discovery.at_paths(paths)])

    @classmethod
    def at(cls, paths: Sequence[str | Path]) -> Host:
        """A host with the plugins at `paths` and no others. Raises `UserError` as `create` does."""
        return cls._of(discovery.at_paths(paths))

    @classmethod
    def _of(cls, plugins: Iterable[DiscoveredPlugin]) -> Host:
        host = cls()
        problems = [problem for found in plugins for plugin in host._members(found) for problem in host._add(plugin)]
        if problems:
            raise UserError(*problems)
        return host

    @property
    def hook(self) -> pluggy.HookRelay:
        """Calls a hook of every plugin: ``host.hook.harness_validate_suite(suite=suite)``."""
        return self._manager.hook

    def origin_of(self, kind: str, name: str) -> str:
        """Which plugin registered the `kind` ("method", "published source", ...) of that `name`."""
        return self._origins[kind, name]

    def add_observer(self, observer: object) -> None:
        """Tell an object, by its methods marked with `hookimpl`, what happens from now on."""
        problems = self._check_hooks(observer, type(observer).__name__)
        if problems:
            raise UserError(*problems)
        self._manager.register(observer)

    def notify(self, hook: str, event: object) -> None:
        """Call an observing hook of every plugin. An exception in one is logged, once, and harms nobody else."""
        for implementation in reversed(getattr(self.hook, hook).get_hookimpls()):
            try:
                implementation.function(*([event] if implementation.argnames else []))
            except Exception as error:
                if id(implementation.plugin) not in self._complained:
                    self._complained.add(id(implementation.plugin))
                    log.warning(
                        "%s failed in %s: %s; later failures of this observer are not shown",
                        hook,
                        implementation.plugin_name,
                        describe(error),
                    )
                    log.debug("the observer's traceback", exc_info=True)

    def collect_results(self, hook: str, subject: object, read: Callable[[Any], Iterable[Answer]]) -> list[Answer]:
        """What every plugin answers, in the order in which they were loaded.

        `read` takes an answer apart, and raises if it is none. An exception is logged, and that answer left out.
        """
        answers: list[Answer] = []
        for implementation in reversed(getattr(self.hook, hook).get_hookimpls()):
            try:
                answers += read(implementation.function(*([subject] if implementation.argnames else [])))
            except Exception as error:
                log.warning("%s failed in %s: %s", hook, implementation.plugin_name, describe(error))
                log.debug("the plugin's traceback", exc_info=True)
        return answers

    def _members(self, found: DiscoveredPlugin) -> list[DiscoveredPlugin]:
        """A plugin itself or, for a package without hooks of its own, each of its subpackages."""
        has_hooks = any(_hooks(self._manager, found.plugin)) or _unmarked_hooks(found.plugin)
        return [found] if has_hooks else discovery.subpackages(found) or [found]

    def _add(self, found: DiscoveredPlugin) -> list[Problem]:
        """Take a plugin in, whole or not at all. Returns what is fatal."""
        if found.plugin is not None and self._manager.is_registered(found.plugin):
            return []  # one module under two entry points
        contributions, problems = (
            _Contributions(),
            [found.problem] if found.problem else self._check_hooks(found.plugin, found.origin),
        )
        problems += self._misplaced(found)
        if not problems:
            contributions, problems = self._collect(found)
        taken = [] if problems else list(self._taken(contributions, found.origin))
        info = PluginInfo(found.name, found.origin)
        info.sections = "harness_report_sections" in dict(_hooks(self._manager, found.plugin))
        self.plugins.append(info)
        if problems or taken:
            info.error = "; ".join(problem.message for problem in [*problems, *taken])
            self.broken[found.name] = info.error
            return [*(problems if found.named else []), *taken]
        self._manager.register(found.plugin, found.origin)
        self._accept(contributions, info)
        return []

    def _check_hooks(self, plugin: object, origin: str) -> list[Problem]:
        """Misspelt hooks, arguments that a hook does not have, and a plugin without any hook."""
        problems: list[Problem] = []
        hooks = dict(_hooks(self._manager, plugin))
        for name, function in hooks.items():
            if name not in HOOKS:
                problems.append(Problem(f"there is no hook {name!r}; {nearest(name, HOOKS)}", origin))
                continue
            if inspect.isgeneratorfunction(function):
                problems.append(Problem(f"hook {name!r} is a generator: wrappers of hooks are not supported", origin))
            allowed = _arguments(HOOKS[name])
            problems += [
                Problem(f"hook {name!r} has no argument {argument!r}; {nearest(argument, allowed)}", origin)
                for argument in _arguments(function)
                if argument not in allowed
            ]
        if not hooks:
            problems.append(Problem(_no_hook(plugin), origin))
        return problems

    def _misplaced(self, found: DiscoveredPlugin) -> Iterator[Problem]:
        """Sections and formats that `harness run` would write and `harness report` would not."""
        there = dict(_hooks(self._manager, found.plugin)) if found.group == GROUP else {}
        for hook in sorted(REPORT_HOOKS & there.keys()):
            text = f"{hook} belongs into a module of its own, under entry-point group {REPORT_GROUP!r}"
            yield Problem(f"{text}: `harness report` imports nothing else", found.origin)

    def _collect(self, found: DiscoveredPlugin) -> tuple[_Contributions, list[Problem]]:
        """Ask a plugin what it brings, and check each thing."""
        contributions = _Contributions()
        registers: dict[str, Callable[..., None]] = {
            "harness_register_methods": contributions.methods.append,
            "harness_register_tasks": contributions.tasks.append,
            "harness_register_metrics": lambda name, factory: contributions.metrics.append((name, factory)),
            "harness_register_published": lambda path: contributions.published.append(Path(path)),
            "harness_register_reporters": lambda name, reporter: contributions.reporters.append((name, reporter)),
            "harness_register_latency_backends": lambda name, each: contributions.latency_backends.append((name, each)),
        }
        for name, function in _hooks(self._manager, found.plugin):
            if name in registers:
                try:
                    function(*([registers[name]] if _arguments(function) else []))
                except UserError as error:
                    return contributions, error.problems
                except Exception as error:
                    return contributions, [Problem(f"{name} failed: {describe(error)}", found.origin)]
        faults = [
            *(fault for method in contributions.methods for fault in contribution_checks.method_faults(method)),
            *(fault for task in contributions.tasks for fault in contribution_checks.task_faults(task)),
            *(
                fault
                for name, factory in contributions.metrics
                for fault in contribution_checks.metric_faults(name, factory)
            ),
            *(fault for path in contributions.published for fault in contribution_checks.published_faults(path)),
            *(
                fault
                for name, reporter in contributions.reporters
                for fault in contribution_checks.reporter_faults(name, reporter)
            ),
            *(
                fault
                for name, each in contributions.latency_backends
                for fault in contribution_checks.backend_faults(name, each)
            ),
        ]
        return contributions, [Problem(fault, found.origin) for fault in faults]

    def _taken(self, contributions: _Contributions, origin: str) -> Iterator[Problem]:
        """Names that another plugin, or this one, has registered already."""
        seen = dict(self._origins)
        for key in _names(contributions):
            if key in seen:
                kind, name = key
                yield Problem(f"{kind} {name!r} is registered twice: by {seen[key]} and by {origin}", origin)
            seen[key] = origin

    def _accept(self, contributions: _Contributions, info: PluginInfo) -> None:
        self._origins |= dict.fromkeys(_names(contributions), info.origin)
        self.methods |= {method.name: method for method in contributions.methods}
        self.tasks |= {task.name: task for task in contributions.tasks}
        self.metrics |= dict(contributions.metrics)
        self.published |= {path.stem: path for path in contributions.published}
        self.reporters |= dict(contributions.reporters)
        self.latency_backends |= dict(contributions.latency_backends)
        info.methods = [method.name for method in contributions.methods]
        info.tasks = [task.name for task in contributions.tasks]
        info.metrics = [name for name, _ in contributions.metrics]
        info.published = [path.stem for path in contributions.published]
        info.reporters = [name for name, _ in contributions.reporters]
        info.latency_backends = [name for name, _ in contributions.latency_backends]


def _names(contributions: _Contributions) -> list[tuple[str, str]]:
    """What a plugin offers, as (kind, name)."""
    return [
        *(("method", method.name) for method in contributions.methods),
        *(("task", task.name) for task in contributions.tasks),
        *(("metric", name) for name, _ in contributions.metrics),
        *(("published source", path.stem) for path in contributions.published),
        *(("format", name) for name, _ in contributions.reporters),
        *(("latency backend", name) for name, _ in contributions.latency_backends),
    ]


def _hooks(manager: pluggy.PluginManager, plugin: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The hooks that a plugin implements, by the name of the hook."""
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is not None:
            yield options.get("specname") or attribute, getattr(plugin, attribute)


def _arguments(function: Callable[..., Any]) -> list[str]:
    """What the host is to pass: like pluggy, it leaves arguments with a default alone."""
    return [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]


def _unmarked_hooks(plugin: object) -> list[str]:
    """Names of hooks that a plugin defines, whether or not it marks them with `hookimpl`."""
    return [name for name in dir(plugin) if name in HOOKS]


def _no_hook(plugin: object) -> str:
    if unmarked := _unmarked_hooks(plugin):
        return f"no hook is implemented: {unmarked[0]} is not marked with @hookimpl (from harness import hookimpl)"
    return (
        "no hook is implemented: a plugin has a function marked with @hookimpl, such as "
        "`def harness_register_methods(register): register(MyMethod)`"
    )
