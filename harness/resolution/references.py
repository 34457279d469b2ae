"""Resolves and checks the names in a suite: tasks, sources, models, published figures, backends.

The functions read the raw data, not the validated `SuiteSpec`, so that an invalid section hides no problem of another.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.api.errors import Problem, UserError, nearest
from harness.api.names import is_name
from harness.config.diagnostics import Diagnostics, format_value
from harness.config.paths import expand_path, folder_or_hub, search_folders, text_files
from harness.config.published_figures import Published
from harness.config.schema import SuiteSpec
from harness.config.student_schema import StudentSpec
from harness.config.training_schema import TrainingSpec
from harness.config.yaml_tree import KeyPath
from harness.metrics.task_metrics import values_of
from harness.models.students import KEYWORDS, check
from harness.plugin_host.published_sources import read_registered
from harness.resolution.task_entries import HOW_TO_DECLARE

if TYPE_CHECKING:
    from harness.api.task import Task
    from harness.plugin_host.host import Host


def get_mapping(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the mapping at `key`, or an empty one if the value is missing or of another type."""
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def get_list(data: Mapping[str, Any], key: str) -> list[Any]:
    """Return the list at `key`, or an empty one if the value is missing or of another type."""
    value = data.get(key)
    return value if isinstance(value, list) else []


def models(teachers: Mapping[str, Any]) -> list[str]:
    """Return the names in the section `teachers` without those that are rows of the suite."""
    return [name for name, body in teachers.items() if not (isinstance(body, dict) and body.get("row"))]


def _check_duplicates(values: Sequence[Any], path: KeyPath, diagnostics: Diagnostics) -> None:
    seen: set[str] = set()
    for index, value in enumerate(values):
        text = json.dumps(value, sort_keys=True)  # hashable, for a nested value too
        if text in seen:
            diagnostics.add((*path, index), f"duplicate value {format_value(value)}")
        seen.add(text)


def find_tasks(data: Mapping[str, Any], tasks: Mapping[str, Task], host: Host, diagnostics: Diagnostics) -> list[str]:
    """Return the names of the suite's tasks, in its order. `floor` may name tasks that the suite does not run.

    `tasks` are the registered and the declared ones. A declared task that is invalid is not among them.
    """
    _check_duplicates(get_list(data, "tasks"), ("tasks",), diagnostics)
    _check_duplicates(get_list(data, "seeds"), ("seeds",), diagnostics)
    declared = {name for entry in get_list(data, "tasks") if isinstance(entry, dict) for name in entry}
    known: list[str] = []
    names = {*tasks, *declared}
    for path in _per_task(data):
        _known_task(str(path[-1]), path, names, host, diagnostics)
    for index, entry in enumerate(get_list(data, "tasks")):
        name = next(iter(entry), None) if isinstance(entry, dict) else entry
        if isinstance(name, str):
            _known_task(name, ("tasks", index), names, host, diagnostics)
            if name in known:
                diagnostics.add(("tasks", index), f"duplicate value {format_value(name)}")
            elif name in tasks:
                known.append(name)
                _known_metrics(tasks[name], ("tasks", index), host, diagnostics)
    for teacher, body in get_mapping(data, "teachers").items():
        for name in get_mapping(body, "labels") if isinstance(body, dict) else ():
            _known_task(name, ("teachers", teacher, "labels", name), names, host, diagnostics)
        for name, floor in (get_mapping(body, "floor") if isinstance(body, dict) else {}).items():
            path = ("teachers", teacher, "floor", name)
            _known_task(name, path, names, host, diagnostics)
            if name in tasks and tasks[name].higher_is_better and isinstance(floor, int | float):
                _check_scale(floor, tasks[name], path, diagnostics)
    return known


def _per_task(data: Mapping[str, Any]) -> Iterator[KeyPath]:
    """Yield the paths of `per_task` settings. They may be of tasks that the suite does not run."""
    for task in get_mapping(get_mapping(data, "training"), "per_task"):
        yield ("training", "per_task", task)
    for index, entry in enumerate(get_list(data, "methods")):
        for task in get_mapping(entry, "per_task") if isinstance(entry, dict) else ():
            yield ("methods", index, "per_task", task)


def _check_scale(floor: float, task: Task, path: KeyPath, diagnostics: Diagnostics) -> None:
    """Report a floor in percent for a score that is a fraction, and the reverse."""
    if not task.in_percent and floor > 1:
        diagnostics.add(path, f"{task.score} of {task.name} is a fraction, found {floor:g}; write {floor / 100:g}")
    elif task.in_percent and 0 < floor <= 1:
        diagnostics.add(path, f"{task.score} of {task.name} is in percent, found {floor:g}; write {100 * floor:g}")


def _known_task(name: str, path: KeyPath, tasks: Collection[str], host: Host, diagnostics: Diagnostics) -> None:
    if name not in tasks:
        hint = f"; {HOW_TO_DECLARE.format(name=name if is_name(name) else 'reviews')}" if path[0] == "tasks" else ""
        diagnostics.add(path, f"unknown task {name!r}; {nearest(name, tasks)}{hint}{broken_plugins(host)}")


def _known_metrics(task: Task, path: KeyPath, host: Host, diagnostics: Diagnostics) -> None:
    for name in task.metrics:
        if name not in host.metrics:
            message = f"unknown metric {name!r} of task {task.name!r}: no plugin registers it"
            diagnostics.add(path, f"{message}; {nearest(name, host.metrics)}{broken_plugins(host)}")
    built_in = all(name in host.metrics and host.is_shipped("metric", name) for name in task.metrics)
    values = values_of(task.metrics) if built_in else None
    if values is not None and task.score not in values:
        message = f"task {task.name!r}: none of its metrics returns the score {task.score!r}"
        diagnostics.add(path, f"{message}; {nearest(task.score, values)}")


def broken_plugins(host: Host) -> str:
    """Return a clause that lists the plugins that failed to load, or an empty string."""
    broken = "; ".join(f"{plugin}: {reason}" for plugin, reason in host.broken.items())
    return f"; plugins that could not be loaded: {broken}" if broken else ""


def find_sources(
    data: Mapping[str, Any], selected: Sequence[Task], tasks: Mapping[str, Task], diagnostics: Diagnostics
) -> dict[str, str]:
    """Return the hub id or absolute folder of each data source in use, by the `selected` tasks of the suite.

    `tasks` are all that are known: a suite may set sources that it does not use.
    """
    known = {task.source for task in tasks.values() if task.source}
    configured = get_mapping(data, "sources")
    locations: dict[str, str] = {}
    for source, value in configured.items():
        path = ("sources", source)
        if source not in known:
            diagnostics.add(path, f"unknown source; {nearest(source, known)}")
        elif isinstance(value, str):
            _add_location(source, value, path, locations, diagnostics)
    used: dict[str, str] = {}
    names = [next(iter(entry), None) if isinstance(entry, dict) else entry for entry in get_list(data, "tasks")]
    for task in selected:
        if task.source:
            location = locations.get(task.source) if task.source in configured else task.default_source
            if location is not None:
                used[task.source] = location
            elif task.source not in configured:
                diagnostics.add(
                    ("tasks", names.index(task.name)),
                    f"task {task.name!r} needs `sources: {{{task.source}: hub id or folder}}`",
                )
    return used


def find_published(data: Mapping[str, Any], host: Host, diagnostics: Diagnostics) -> tuple[Published, ...]:
    """Read the sources of published figures that the suite selects; by default all that are registered."""
    _check_duplicates(get_list(data, "published"), ("published",), diagnostics)
    for index, name in enumerate(get_list(data, "published")):
        if isinstance(name, str) and name not in host.published:
            diagnostics.add(("published", index), f"unknown published source {name!r}; {nearest(name, host.published)}")
    selected = host.published if data.get("published", True) is True else get_list(data, "published")
    sources = []
    for name in selected:
        if isinstance(name, str) and name in host.published:
            try:
                sources.append(read_registered(name, host))
            except UserError as error:
                remedy = "fix the file, or list the sources that the suite needs in `published`"
                diagnostics.extend([Problem(f"{item.message}; {remedy}", item.where) for item in error.problems])
    return tuple(sources)


def check_tuning(data: Mapping[str, Any], diagnostics: Diagnostics) -> None:
    """Check that the ranges of `tuning` contain the settings of `training`: the first trial uses them."""
    _check_tuned_rates(data, diagnostics)
    _check_tuned_batch_sizes(data, diagnostics)


def _check_tuned_rates(data: Mapping[str, Any], diagnostics: Diagnostics) -> None:
    """Check that the learning rates of `training` are in the range of `tuning.lr`."""
    rates, training = get_mapping(data, "tuning").get("lr"), get_mapping(data, "training")
    if not isinstance(rates, list) or len(rates) != 2 or not all(isinstance(rate, int | float) for rate in rates):
        return
    lowest, highest = rates
    defaults = {"training.lr": training.get("lr", TrainingSpec.model_fields["lr"].default)}
    for task, settings in get_mapping(training, "per_task").items():
        if isinstance(settings, dict) and "lr" in settings:
            defaults[f"training.per_task.{task}.lr"] = settings["lr"]
    for key, rate in defaults.items():
        if isinstance(rate, int | float) and lowest < highest and not lowest <= rate <= highest:
            diagnostics.add(
                ("tuning", "lr"),
                f"{key} is {rate:g}, which is not in the range from {lowest:g} to {highest:g}; the first trial uses it",
            )


def _check_tuned_batch_sizes(data: Mapping[str, Any], diagnostics: Diagnostics) -> None:
    """Check that the batch sizes of `training` are in `tuning.batch_size`."""
    tuned, training = get_list(get_mapping(data, "tuning"), "batch_size"), get_mapping(data, "training")
    if not tuned:  # the schema's check reports an empty list
        return
    default = TrainingSpec.model_fields["batch_size"].default
    settings = {"training": {"batch_size": default, **training}}
    for task, body in get_mapping(training, "per_task").items():
        settings[f"training.per_task.{task}"] = body if isinstance(body, dict) else {}
    for where, body in settings.items():
        if body.get("token_budget") is not None:
            message = f"{where}.token_budget sets the size of a step; remove one of both"
            diagnostics.add(("tuning", "batch_size"), message)
        size = body.get("batch_size")
        if isinstance(size, int) and size not in tuned:
            message = f"{where}.batch_size is {size}, which is not among {', '.join(map(str, tuned))};"
            diagnostics.add(("tuning", "batch_size"), f"{message} the first trial uses it")


def check_teacher_seeds(data: Mapping[str, Any], diagnostics: Diagnostics) -> None:
    """Check that a teacher with `seeds` has as many as the suite: the k-th run of a student learns from the k-th."""
    runs = data.get("seeds", SuiteSpec.model_fields["seeds"].default)
    if not isinstance(runs, list):  # the schema's check reports it
        return
    for name, body in get_mapping(data, "teachers").items():
        seeds = get_list(body, "seeds") if isinstance(body, dict) else []
        _check_duplicates(seeds, ("teachers", name, "seeds"), diagnostics)
        if seeds and len(seeds) != len(runs):
            diagnostics.add(
                ("teachers", name, "seeds"),
                f"the teacher has {len(seeds)} seeds, the suite's `seeds` has {len(runs)}; the k-th run of a student"
                " learns from the k-th teacher, so give the same number, or one `seed` for one teacher of all runs",
            )


def find_models(data: Mapping[str, Any], diagnostics: Diagnostics) -> dict[str, str]:
    """Return the hub id or absolute folder of each teacher with a `model` and each student that starts from a model."""
    locations: dict[str, str] = {}
    for name, body in get_mapping(data, "teachers").items():
        if isinstance(body, dict) and isinstance(body.get("model"), str):
            _add_location(name, body["model"], ("teachers", name, "model"), locations, diagnostics)
    for name, body in get_mapping(data, "students").items():
        init = body.get("init") if isinstance(body, dict) else None
        if isinstance(init, str) and init not in KEYWORDS:
            _add_location(name, init, ("students", name, "init"), locations, diagnostics)
    return locations


def find_text(data: Mapping[str, Any], diagnostics: Diagnostics) -> str | None:
    """Return the text of the text stages: a hub id, an absolute folder, or an absolute pattern of .txt files."""
    value = get_mapping(data, "general").get("data")
    if not isinstance(value, str):
        return None
    path, locations = ("general", "data"), dict[str, str]()
    if not value.endswith(".txt"):
        _add_location("text", value, path, locations, diagnostics)
        return locations.get("text")
    folders = search_folders(diagnostics.root.mark_of(path).folder)
    try:
        patterns = dict.fromkeys(str(expand_path(value, folder).resolve()) for folder in folders)
    except UserError as error:
        diagnostics.add(path, error.problems[0].message)
        return None
    pattern = next(filter(text_files, patterns), None)
    if pattern is None:
        diagnostics.add(path, f"{value!r}: file not found: {' or '.join(patterns)}")
    return pattern


def check_trackers(data: Mapping[str, Any], host: Host, diagnostics: Diagnostics) -> None:
    """Check the names in `tracking`."""
    for index, name in enumerate(get_list(data, "tracking")):
        if isinstance(name, str) and name not in host.trackers:
            hint = nearest(name, host.trackers)
            diagnostics.add(("tracking", index), f"unknown tracker {name!r}; {hint}{broken_plugins(host)}")


def check_latency_backends(data: Mapping[str, Any], host: Host, diagnostics: Diagnostics) -> None:
    """Check the names in `latency.backends`."""
    names = get_list(get_mapping(data, "latency"), "backends")
    for index, name in enumerate(names):
        path = ("latency", "backends", index)
        if isinstance(name, str) and name not in host.latency_backends:
            hint = nearest(name, host.latency_backends)
            diagnostics.add(path, f"unknown backend {name!r}; {hint}{broken_plugins(host)}")
        elif name in names[:index]:
            diagnostics.add(path, f"duplicate value {format_value(name)}")


def check_students(data: Mapping[str, Any], diagnostics: Diagnostics) -> None:
    """Report students that are invalid with any teacher, and students that need a teacher if there is none."""
    for name, body in get_mapping(data, "students").items():
        try:
            spec = StudentSpec.model_validate(body)
        except ValidationError:  # reported by the schema's check
            continue
        add_student(check(spec, name, None, None), name, diagnostics)
        if not models(get_mapping(data, "teachers")):
            missing = [size for size in ("hidden", "heads", "ffn") if getattr(spec, size) is None]
            if isinstance(spec.init, list) or (spec.init in KEYWORDS and spec.init != "random"):
                diagnostics.add(("students", name), "init copies layers from a teacher, but the suite has no teachers")
            elif missing and spec.init in KEYWORDS:
                diagnostics.add(("students", name), f"set {', '.join(missing)}: there is no teacher to take them from")


def add_student(problems: Sequence[Problem], name: str, diagnostics: Diagnostics) -> None:
    """Add the problems of a student, each at its own key."""
    for problem in problems:
        key = (problem.where or "").removeprefix(f"students.{name}").removeprefix(".")
        diagnostics.add(("students", name, *([key] if key else [])), problem.message)


def _add_location(name: str, value: str, path: KeyPath, locations: dict[str, str], diagnostics: Diagnostics) -> None:
    folders = search_folders(diagnostics.root.mark_of(path).folder)
    try:
        locations[name] = folder_or_hub(value, folders)
    except UserError as error:
        diagnostics.add(path, error.problems[0].message)


def check_distinct_names(data: Mapping[str, Any], diagnostics: Diagnostics) -> None:
    """Report students with the name of a teacher: messages and tables use names alone."""
    for name in get_mapping(data, "students"):
        if name in get_mapping(data, "teachers"):
            diagnostics.add(("students", name), "duplicate name: a teacher has it, too; rename the student")
