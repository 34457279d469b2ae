"""What plugins register: methods, tasks, metrics, ...; how it is collected and validated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.plugin_host import contribution_checks
from harness.plugin_host.hook_checks import arguments

ContributionKey = tuple[str, str]
"""A kind and a name: ``("method", "pkd")``."""


@dataclass(frozen=True)
class Kind:
    """A kind of object that plugins register.

    Attributes:
        title: for messages, such as ``method``.
        attribute: the attribute of `Host` and `PluginInfo` that holds the objects or their names.
        faults: yields the problems of the arguments of ``register``.
        name_of: returns the name of an object; None: ``register`` takes the name before the object.
        convert: makes the object that the host keeps.
    """

    title: str
    attribute: str
    faults: Callable[..., Iterator[str]]
    name_of: Callable[[Any], str] | None = None
    convert: Callable[[Any], Any] = lambda contribution: contribution


def _own_name(contribution: Any) -> str:
    return str(contribution.name)


KINDS = {
    "harness_register_methods": Kind("method", "methods", contribution_checks.method_faults, _own_name),
    "harness_register_tasks": Kind("task", "tasks", contribution_checks.task_faults, _own_name),
    "harness_register_metrics": Kind("metric", "metrics", contribution_checks.metric_faults),
    "harness_register_published": Kind(
        "published source", "published", contribution_checks.published_faults, lambda path: path.stem, Path
    ),
    "harness_register_reporters": Kind("format", "reporters", contribution_checks.reporter_faults),
    "harness_register_latency_backends": Kind(
        "latency backend", "latency_backends", contribution_checks.backend_faults
    ),
    "harness_register_engines": Kind("engine", "engines", contribution_checks.engine_faults),
    "harness_register_trackers": Kind("tracker", "trackers", contribution_checks.tracker_faults),
}
"""Register hooks and the kind of object that each registers."""


@dataclass(frozen=True)
class Contribution:
    """A registered object with its kind and name."""

    kind: Kind
    name: str
    value: Any

    @property
    def key(self) -> ContributionKey:
        return self.kind.title, self.name

    def __str__(self) -> str:
        return f"{self.kind.title} {self.name!r}"


@dataclass(frozen=True)
class RegisterCall:
    """A call of ``register`` with its arguments: the object, or a name and the object."""

    kind: Kind
    arguments: tuple[Any, ...]

    @property
    def contribution(self) -> Contribution:
        """What the call registers. The arguments must be valid."""
        value = self.arguments[-1]
        name = self.kind.name_of(value) if self.kind.name_of else self.arguments[0]
        return Contribution(self.kind, name, value)


def register_calls(hook: str, function: Callable[..., None]) -> list[RegisterCall]:
    """Call a plugin's implementation of `hook` and return its calls of ``register``; empty for other hooks."""
    if (kind := KINDS.get(hook)) is None:
        return []
    calls: list[RegisterCall] = []

    def register(contribution: Any) -> None:
        calls.append(RegisterCall(kind, (kind.convert(contribution),)))

    def register_by_name(name: Any, contribution: Any) -> None:
        calls.append(RegisterCall(kind, (name, contribution)))

    function(*([register if kind.name_of else register_by_name] if arguments(function) else []))
    return calls


def faults(calls: Iterable[RegisterCall]) -> Iterator[str]:
    """Yield the problems of everything that a plugin registers."""
    for call in calls:
        yield from call.kind.faults(*call.arguments)
