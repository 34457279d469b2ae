"""Checks what plugins register. Each check yields messages for the plugin's author.

Torch is imported only where a method or task is checked: `harness report` does without.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from harness.api import search_space
from harness.api.names import NAME_RULE, is_name
from harness.api.report import FORMAT_NAME
from harness.api.task import Task
from harness.config.schema import RESERVED

TASKS_RESERVED = (
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
"""What other columns of leaderboard.csv begin with than those of a task, which begin with its name."""


def method_faults(method: Any) -> Iterator[str]:
    """Faults of a thing registered as a method."""
    from harness.api.method import Method

    if not (isinstance(method, type) and issubclass(method, Method)):
        hint = "; register the class, not an instance" if isinstance(method, Method) else ""
        yield f"registered {_show(method)} as a method, which is not a subclass of harness.Method{hint}"
        return
    title = f"method {method.__name__}"
    if not hasattr(method, "name"):
        yield f"{title} has no `name`"
    else:
        yield from _name_faults(title, method.name)
    if missing := sorted(getattr(method, "__abstractmethods__", ())):
        yield f"{title} does not define {' and '.join(missing)}"
    if not isinstance(method.version, int):
        yield f"{title}: version is {method.version!r}, and must be an integer"
    if method.max_teachers is not None and not 0 <= method.min_teachers <= method.max_teachers:
        yield f"{title}: min_teachers is {method.min_teachers} and max_teachers {method.max_teachers}"
    yield from _config_faults(title, method.Config)


def _config_faults(title: str, config: Any) -> Iterator[str]:
    from harness.api.method import MethodConfig

    if not (isinstance(config, type) and issubclass(config, MethodConfig)):
        yield f"{title}: Config is {_show(config)}, which is not a subclass of harness.MethodConfig"
        return
    if taken := sorted(RESERVED & set(config.model_fields)):
        yield f"{title}: option {taken[0]!r} cannot be set: suites reserve {', '.join(sorted(RESERVED))}"
    if silent := [name for name, field in config.model_fields.items() if not field.description]:
        names = ", ".join(map(repr, silent))
        yield f"{title}: no description of {names}: `harness list methods` shows it, from Field(..., description=...)"
    try:
        config()
    except ValidationError as error:
        options = ", ".join(str(detail["loc"][0]) if detail["loc"] else detail["msg"] for detail in error.errors())
        yield f"{title}: every option needs a valid default, but Config() is refused for {options}"
        return
    yield from (f"{title}: {fault}" for fault in search_space.faults(config))


def task_faults(task: Any) -> Iterator[str]:
    """Faults of a thing registered as a task."""
    from harness.api.batch import TaskKind

    if not isinstance(task, Task):
        yield f"registered {_show(task)} as a task, which is not a harness.api.task.Task"
        return
    title = f"task {task.name!r}"
    yield from _name_faults(title, task.name)
    if task.name in TASKS_RESERVED:
        yield (
            f"{title}: the name is reserved, since other columns of leaderboard.csv begin with it; so are "
            f"{', '.join(name for name in TASKS_RESERVED if name != task.name)}"
        )
    kinds = [kind for kind in get_args(TaskKind) if kind != "text"]  # text has no labels, so nothing to score
    if task.kind not in kinds:
        yield f"{title}: kind is {task.kind!r}; allowed: {', '.join(kinds)}"
    if task.kind == "classification" and len(task.labels) < 2:
        yield f"{title}: a classification task names its classes in `labels`, at least two; found {len(task.labels)}"
    if not task.metrics:
        yield f"{title} names no metric"


def metric_faults(name: Any, factory: Any) -> Iterator[str]:
    """Faults of a thing registered as a metric."""
    yield from _name_faults("a metric", name)
    if not callable(factory):
        yield f"metric {name!r}: {_show(factory)} cannot be called; register a function that makes the metric"


def published_faults(path: Path) -> Iterator[str]:
    """Faults of a file of published figures, unread."""
    if not is_name(path.stem):
        yield f"published figures {path}: the file's name is the name of the source; allowed: {NAME_RULE}"
    elif not path.is_file():
        yield f"published figures {path}: there is no such file"


def reporter_faults(name: Any, reporter: Any) -> Iterator[str]:
    """Faults of a thing registered as a format."""
    if not isinstance(name, str) or not FORMAT_NAME.fullmatch(name):
        yield f"format {name!r}: its name is the ending of a file; lower-case letters and digits are allowed"
    if not callable(reporter):
        yield f"format {name!r}: {_show(reporter)} cannot be called; register a function of harness.api.report.Content"


def backend_faults(name: Any, backend: Any) -> Iterator[str]:
    """Faults of a thing registered as a latency backend."""
    yield from _name_faults("a latency backend", name)
    if inspect.isclass(backend):
        yield f"latency backend {name!r}: registered {_show(backend)}; register an instance of it"
        return
    lacking = [member for member in ("obstacle", "program") if not callable(getattr(backend, member, None))]
    lacking += [member for member in ("exact", "packages") if not hasattr(backend, member)]
    if lacking:
        yield (
            f"latency backend {name!r}: {_show(backend)} has no {', '.join(lacking)}; see "
            "harness.api.latency_backend.Backend"
        )


def _name_faults(title: str, name: Any) -> Iterator[str]:
    if not is_name(name):
        yield f"{title}: the name {name!r} is not allowed: {NAME_RULE}"


def _show(thing: Any) -> str:
    return f"the class {thing.__name__}" if inspect.isclass(thing) else f"{type(thing).__name__} {str(thing)[:60]!r}"
