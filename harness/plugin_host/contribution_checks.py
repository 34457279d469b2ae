"""Validates the methods, tasks, metrics, formats and backends that plugins register.

Each check yields messages for the author of the plugin. Torch is imported only to check methods and tasks, because
`harness report` does not need it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from harness.api import search_space
from harness.api.names import NAME_RULE, is_name
from harness.api.report import FORMAT_NAME
from harness.api.task import ENTITY_METRIC, Task
from harness.config.method_schema import RESERVED
from harness.plugin_host import signature_checks

IOB2 = re.compile(r"O|[BI]-.+")
"""A tag of words in IOB2."""

TASKS_RESERVED = (
    "assistant",
    "average",
    "gap",
    "gap_closed",
    "iqm",
    "parameters",
    "speed",
    "speed_up",
    "student",
    "teacher",
    "top",
    "tuning",
)
"""Prefixes of columns of leaderboard.csv. The columns of a task start with its name, so these names are reserved."""


def method_faults(method: Any) -> Iterator[str]:
    """Yield the problems of an object registered as a method."""
    from harness.api.method import Method, MethodGroup

    if not (isinstance(method, type) and issubclass(method, Method)):
        hint = "; register the class, not an instance" if isinstance(method, Method) else ""
        yield f"a method must be a subclass of harness.Method, found {_format(method)}{hint}"
        return
    title = f"method {method.__name__}"
    if not hasattr(method, "name"):
        yield f"{title} has no `name`"
    else:
        yield from _name_faults(title, method.name)
    if missing := sorted(getattr(method, "__abstractmethods__", ())):
        yield f"{title} does not define {' and '.join(missing)}"
    yield from signature_checks.signature_faults(title, method, Method)
    if not isinstance(method.version, int):
        yield f"{title}: version must be an integer, found {method.version!r}"
    if method.group not in get_args(MethodGroup):
        groups = ", ".join(map(repr, get_args(MethodGroup)))
        yield f"{title}: unknown group {method.group!r}; allowed: {groups}"
    if method.max_teachers is not None and not 0 <= method.min_teachers <= method.max_teachers:
        yield (
            f"{title}: expected 0 <= min_teachers <= max_teachers,"
            f" found min_teachers {method.min_teachers}, max_teachers {method.max_teachers}"
        )
    yield from _config_faults(title, method.Config)


def _config_faults(title: str, config: Any) -> Iterator[str]:
    from harness.api.method import MethodConfig

    if not (isinstance(config, type) and issubclass(config, MethodConfig)):
        yield f"{title}: Config must be a subclass of harness.MethodConfig, found {_format(config)}"
        return
    if reserved := sorted(RESERVED & set(config.model_fields)):
        yield f"{title}: option {reserved[0]!r} is a reserved key of suites; reserved: {', '.join(sorted(RESERVED))}"
    if undescribed := [name for name, field in config.model_fields.items() if not field.description]:
        names = ", ".join(map(repr, undescribed))
        yield f"{title}: no description of {names}; set Field(..., description=...), `harness list methods` shows it"
    try:
        config()
    except ValidationError as error:
        options = ", ".join(str(detail["loc"][0]) if detail["loc"] else detail["msg"] for detail in error.errors())
        yield f"{title}: every option needs a valid default, but Config() is invalid for {options}"
        return
    yield from (f"{title}: {fault}" for fault in search_space.faults(config))


def task_faults(task: Any) -> Iterator[str]:
    """Yield the problems of an object registered as a task."""
    from harness.api.batch import TaskKind

    if not isinstance(task, Task):
        yield f"a task must be a harness.api.task.Task, found {_format(task)}"
        return
    title = f"task {task.name!r}"
    yield from _name_faults(title, task.name)
    if task.name in TASKS_RESERVED:
        yield (
            f"{title}: the name is reserved: it is a prefix of columns of leaderboard.csv; also reserved: "
            f"{', '.join(name for name in TASKS_RESERVED if name != task.name)}"
        )
    kinds = [kind for kind in get_args(TaskKind) if kind != "text"]  # text has no labels and so no score
    if task.kind not in kinds:
        yield f"{title}: unknown kind {task.kind!r}; allowed: {', '.join(kinds)}"
    if task.kind in ("classification", "multilabel", "token_classification") and len(task.labels) < 2:
        yield f"{title}: a {task.kind} task needs at least two `labels`, found {len(task.labels)}"
    if ENTITY_METRIC in task.metrics and (wrong := [tag for tag in task.labels if not IOB2.fullmatch(tag)]):
        yield (
            f"{title}: the metric {ENTITY_METRIC!r} needs `labels` in IOB2, such as 'O', 'B-PER', 'I-PER', found"
            f" {wrong[0]!r}; for other tags use 'token_accuracy' alone"
        )
    if not task.metrics:
        yield f"{title}: `metrics` is empty"
    for name, function in (("load", task.load), ("files", task.files)):
        if name == "load" or function is not None:
            yield from _source_function_faults(title, name, function)


def _source_function_faults(title: str, name: str, function: Any) -> Iterator[str]:
    """Yield the problems of a function of a task's source."""
    if not callable(function):
        yield f"{title}: {name} is {_format(function)}; expected a function of the source"
    elif not _takes(function, 1):
        yield f"{title}: {name} cannot be called as {name}(source)"


def metric_faults(name: Any, factory: Any) -> Iterator[str]:
    """Yield the problems of a name and a factory registered as a metric."""
    yield from _name_faults("a metric", name)
    if not callable(factory):
        yield f"metric {name!r}: {_format(factory)} is not callable; register a function that returns the metric"


def published_faults(path: Path) -> Iterator[str]:
    """Yield the problems of the path of a file of published figures. The file is not read."""
    if not is_name(path.stem):
        yield f"published figures {path}: invalid file name, which is the name of the source; allowed: {NAME_RULE}"
    elif not path.is_file():
        yield f"published figures {path}: file not found"


def reporter_faults(name: Any, reporter: Any) -> Iterator[str]:
    """Yield the problems of a name and a reporter registered as a format."""
    if not isinstance(name, str) or not FORMAT_NAME.fullmatch(name):
        yield f"format {name!r}: the name is a file extension; allowed: lower-case letters and digits"
    if not callable(reporter):
        yield f"format {name!r}: {_format(reporter)} is not callable; register a function of harness.api.report.Content"
    elif not _takes(reporter, 1):
        yield f"format {name!r} must take one argument, a harness.api.report.Content"


def backend_faults(name: Any, backend: Any) -> Iterator[str]:
    """Yield the problems of a name and an object registered as a latency backend."""
    yield from _name_faults("a latency backend", name)
    if inspect.isclass(backend):
        yield f"latency backend {name!r}: found {_format(backend)}; register an instance, not the class"
        return
    missing = [member for member in ("obstacle", "program") if not callable(getattr(backend, member, None))]
    missing += [member for member in ("exact", "packages") if not hasattr(backend, member)]
    if missing:
        yield (
            f"latency backend {name!r}: {_format(backend)} has no {', '.join(missing)}; see "
            "harness.api.latency_backend.Backend"
        )
        return
    for method, arguments in (("obstacle", ("device",)), ("program", ("model", "device", "example"))):
        if not _takes(getattr(backend, method), len(arguments)):
            yield f"latency backend {name!r}: {method} cannot be called as {method}({', '.join(arguments)})"


def engine_faults(name: Any, engine: Any) -> Iterator[str]:
    """Yield the problems of a name and an object registered as an engine."""
    yield from _name_faults("an engine", name)
    if inspect.isclass(engine) or not callable(engine):
        yield f"engine {name!r}: found {_format(engine)}; register a function like harness.api.engine.Engine"
    elif not _takes(engine, 1):
        yield f"engine {name!r} must take one argument, the execution; see harness.api.engine.Engine"


def tracker_faults(name: Any, factory: Any) -> Iterator[str]:
    """Yield the problems of a name and a factory registered as a tracker."""
    yield from _name_faults("a tracker", name)
    if not callable(factory):
        yield f"tracker {name!r}: {_format(factory)} is not callable; register a function of a folder"
    elif not _takes(factory, 1):
        yield f"tracker {name!r} must take one argument, the folder to write to; see harness.api.tracker"


def _takes(function: Any, count: int) -> bool:
    """Whether a call with so many positional arguments is possible; True if that is unknown."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some built-in functions
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _name_faults(title: str, name: Any) -> Iterator[str]:
    if not is_name(name):
        yield f"{title}: invalid name {name!r}; allowed: {NAME_RULE}"


def _format(value: Any) -> str:
    return f"the class {value.__name__}" if inspect.isclass(value) else f"{type(value).__name__} {str(value)[:60]!r}"
