"""The plugin host: loads plugins, validates and stores what they register, and calls their hooks."""

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

if TYPE_CHECKING:  # these import torch
    from harness.api.latency_backend import Backend
    from harness.api.method import Method
    from harness.api.report import Reporter
    from harness.api.task import Task
    from harness.api.tracker import TrackerFactory
    from harness.execution.engine import Engine

log = logging.getLogger("harness")

HOOKS = {name: function for name, function in vars(hookspecs).items() if name.startswith("harness_")}

REPORT_HOOKS = {"harness_report_sections", "harness_register_reporters"}

Result = TypeVar("Result")

MetricFactory = Callable[[], Any]
"""Returns an `evaluate.Metric`."""


@dataclass
class PluginInfo:
    """A plugin and the names it registers, for `harness list plugins`. `error`: why it could not be loaded."""

    name: str
    origin: str
    error: str | None = None
    methods: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    reporters: list[str] = field(default_factory=list)
    latency_backends: list[str] = field(default_factory=list)
    engines: list[str] = field(default_factory=list)
    trackers: list[str] = field(default_factory=list)
    sections: bool = False


@dataclass
class _Contributions:
    """What one plugin registers, before it is validated."""

    methods: list[Any] = field(default_factory=list)
    tasks: list[Any] = field(default_factory=list)
    metrics: list[tuple[Any, Any]] = field(default_factory=list)
    published: list[Path] = field(default_factory=list)
    reporters: list[tuple[Any, Any]] = field(default_factory=list)
    latency_backends: list[tuple[Any, Any]] = field(default_factory=list)
    engines: list[tuple[Any, Any]] = field(default_factory=list)
    trackers: list[tuple[Any, Any]] = field(default_factory=list)


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
        self.engines: dict[str, Engine] = {}
        self.trackers: dict[str, TrackerFactory] = {}
        self.plugins: list[PluginInfo] = []
        self.broken: dict[str, str] = {}
        self.paths: tuple[str, ...] = ()
        self._manager = pluggy.PluginManager("harness")
        self._manager.add_hookspecs(hookspecs)
        self._origins: dict[tuple[str, str], str] = {}
        self._failed_observers: set[int] = set()
        self._receiver: Callable[[str, object], None] | None = None

    @classmethod
    def create(cls, paths: Sequence[str | Path] = ()) -> Host:
        """Create a host with the installed plugins and those at `paths` (.py files or folders).

        Raises `UserError` with all problems of the plugins at `paths` and all duplicate names. Other problems of
        installed plugins are in `broken`.
        """
        host = cls._of([*discovery.installed(), *discovery.installed(REPORT_GROUP), *discovery.at_paths(paths)])
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
        problems = [problem for item in plugins for plugin in host._members(item) for problem in host._add(plugin)]
        if problems:
            raise UserError(*problems)
        return host

    @property
    def hook(self) -> pluggy.HookRelay:
        """Call a hook of all plugins: ``host.hook.harness_validate_suite(suite=suite)``."""
        return self._manager.hook

    def origin_of(self, kind: str, name: str) -> str:
        """Return the plugin that registered `name`; `kind` is "method", "published source", ..."""
        return self._origins[kind, name]

    def add_observer(self, observer: object) -> None:
        """Register an object whose methods marked with `hookimpl` are called from now on. Raises `UserError`."""
        problems = self._check_hooks(observer, type(observer).__name__)
        if problems:
            raise UserError(*problems)
        self._manager.register(observer)

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
            except Exception as error:
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
            except Exception as error:
                log.warning("%s failed in %s: %s", hook, implementation.plugin_name, describe(error))
                log.debug("the plugin's traceback", exc_info=True)
        return results

    def _members(self, discovered: DiscoveredPlugin) -> list[DiscoveredPlugin]:
        """Return the plugin itself or, for a package without hooks, its subpackages."""
        has_hooks = any(_hooks(self._manager, discovered.plugin)) or _unmarked_hooks(discovered.plugin)
        return [discovered] if has_hooks else discovery.subpackages(discovered) or [discovered]

    def _add(self, discovered: DiscoveredPlugin) -> list[Problem]:
        """Register a plugin, completely or not at all. Returns the problems that are errors."""
        if discovered.plugin is not None and self._manager.is_registered(discovered.plugin):
            return []  # the same module under two entry points
        contributions = _Contributions()
        problems = (
            [discovered.problem] if discovered.problem else self._check_hooks(discovered.plugin, discovered.origin)
        )
        problems += self._misplaced_hooks(discovered)
        if not problems:
            contributions, problems = self._collect(discovered)
        duplicates = [] if problems else list(self._duplicate_names(contributions, discovered.origin))
        info = PluginInfo(discovered.name, discovered.origin)
        info.sections = "harness_report_sections" in dict(_hooks(self._manager, discovered.plugin))
        self.plugins.append(info)
        if problems or duplicates:
            info.error = "; ".join(problem.message for problem in [*problems, *duplicates])
            self.broken[discovered.name] = info.error
            return [*(problems if discovered.named else []), *duplicates]
        self._manager.register(discovered.plugin, discovered.origin)
        self._accept(contributions, info)
        return []

    def _check_hooks(self, plugin: object, origin: str) -> list[Problem]:
        """Return problems of hook names and arguments, and of a plugin without hooks."""
        problems: list[Problem] = []
        hooks = dict(_hooks(self._manager, plugin))
        for name, function in hooks.items():
            if name not in HOOKS:
                problems.append(Problem(f"unknown hook {name!r}; {nearest(name, HOOKS)}", origin))
                continue
            if inspect.isgeneratorfunction(function):
                problems.append(Problem(f"hook {name!r} is a generator; hook wrappers are not supported", origin))
            allowed = _arguments(HOOKS[name])
            problems += [
                Problem(f"hook {name!r} has no argument {argument!r}; {nearest(argument, allowed)}", origin)
                for argument in _arguments(function)
                if argument not in allowed
            ]
        if not hooks:
            problems.append(Problem(_no_hook(plugin), origin))
        return problems

    def _misplaced_hooks(self, discovered: DiscoveredPlugin) -> Iterator[Problem]:
        """Yield report hooks outside of the report group: `harness run` would call them, `harness report` would not."""
        hooks = dict(_hooks(self._manager, discovered.plugin)) if discovered.group == GROUP else {}
        for hook in sorted(REPORT_HOOKS & hooks.keys()):
            message = f"{hook} must be in a separate module of the entry-point group {REPORT_GROUP!r}"
            yield Problem(f"{message}; `harness report` loads only this group", discovered.origin)

    def _collect(self, discovered: DiscoveredPlugin) -> tuple[_Contributions, list[Problem]]:
        """Call the register hooks of a plugin and validate what it registers."""
        contributions = _Contributions()
        registers: dict[str, Callable[..., None]] = {
            "harness_register_methods": contributions.methods.append,
            "harness_register_tasks": contributions.tasks.append,
            "harness_register_metrics": lambda name, factory: contributions.metrics.append((name, factory)),
            "harness_register_published": lambda path: contributions.published.append(Path(path)),
            "harness_register_reporters": lambda name, reporter: contributions.reporters.append((name, reporter)),
            "harness_register_latency_backends": lambda name, backend: contributions.latency_backends.append(
                (name, backend)
            ),
            "harness_register_engines": lambda name, engine: contributions.engines.append((name, engine)),
            "harness_register_trackers": lambda name, factory: contributions.trackers.append((name, factory)),
        }
        for name, function in _hooks(self._manager, discovered.plugin):
            if name in registers:
                try:
                    function(*([registers[name]] if _arguments(function) else []))
                except UserError as error:
                    return contributions, error.problems
                except Exception as error:
                    return contributions, [Problem(f"{name} failed: {describe(error)}", discovered.origin)]
        return contributions, [Problem(fault, discovered.origin) for fault in _faults(contributions)]

    def _duplicate_names(self, contributions: _Contributions, origin: str) -> Iterator[Problem]:
        """Yield names that another plugin, or this one, has registered already."""
        seen = dict(self._origins)
        for key in _names(contributions):
            if key in seen:
                kind, name = key
                yield Problem(f"duplicate {kind} {name!r}: registered by {seen[key]} and by {origin}", origin)
            seen[key] = origin

    def _accept(self, contributions: _Contributions, info: PluginInfo) -> None:
        self._origins |= dict.fromkeys(_names(contributions), info.origin)
        self.methods |= {method.name: method for method in contributions.methods}
        self.tasks |= {task.name: task for task in contributions.tasks}
        self.metrics |= dict(contributions.metrics)
        self.published |= {path.stem: path for path in contributions.published}
        self.reporters |= dict(contributions.reporters)
        self.latency_backends |= dict(contributions.latency_backends)
        self.engines |= dict(contributions.engines)
        self.trackers |= dict(contributions.trackers)
        info.methods = [method.name for method in contributions.methods]
        info.tasks = [task.name for task in contributions.tasks]
        info.metrics = [name for name, _ in contributions.metrics]
        info.published = [path.stem for path in contributions.published]
        info.reporters = [name for name, _ in contributions.reporters]
        info.latency_backends = [name for name, _ in contributions.latency_backends]
        info.engines = [name for name, _ in contributions.engines]
        info.trackers = [name for name, _ in contributions.trackers]


def _faults(contributions: _Contributions) -> Iterator[str]:
    """Yield the problems of everything that a plugin registers."""
    for method in contributions.methods:
        yield from contribution_checks.method_faults(method)
    for task in contributions.tasks:
        yield from contribution_checks.task_faults(task)
    for name, factory in contributions.metrics:
        yield from contribution_checks.metric_faults(name, factory)
    for path in contributions.published:
        yield from contribution_checks.published_faults(path)
    for name, reporter in contributions.reporters:
        yield from contribution_checks.reporter_faults(name, reporter)
    for name, backend in contributions.latency_backends:
        yield from contribution_checks.backend_faults(name, backend)
    for name, engine in contributions.engines:
        yield from contribution_checks.engine_faults(name, engine)
    for name, factory in contributions.trackers:
        yield from contribution_checks.tracker_faults(name, factory)


def _names(contributions: _Contributions) -> list[tuple[str, str]]:
    """List what a plugin registers as (kind, name)."""
    return [
        *(("method", method.name) for method in contributions.methods),
        *(("task", task.name) for task in contributions.tasks),
        *(("metric", name) for name, _ in contributions.metrics),
        *(("published source", path.stem) for path in contributions.published),
        *(("format", name) for name, _ in contributions.reporters),
        *(("latency backend", name) for name, _ in contributions.latency_backends),
        *(("engine", name) for name, _ in contributions.engines),
        *(("tracker", name) for name, _ in contributions.trackers),
    ]


def _hooks(manager: pluggy.PluginManager, plugin: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the hooks that a plugin implements, with their names."""
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is not None:
            yield options.get("specname") or attribute, getattr(plugin, attribute)


def _arguments(function: Callable[..., Any]) -> list[str]:
    """List the arguments that the host passes. Like pluggy, it skips arguments with a default."""
    return [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]


def _unmarked_hooks(plugin: object) -> list[str]:
    """List the hooks that a plugin defines, with or without `hookimpl`."""
    return [name for name in dir(plugin) if name in HOOKS]


def _no_hook(plugin: object) -> str:
    if unmarked := _unmarked_hooks(plugin):
        return f"no hook is implemented: mark {unmarked[0]} with @hookimpl (from harness import hookimpl)"
    return (
        "no hook is implemented; add a function marked with @hookimpl, such as "
        "`def harness_register_methods(register): register(MyMethod)`"
    )
