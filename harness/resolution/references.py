"""Looks up what a suite names, in the data as they were read: a part that is refused hides no problem of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.api.errors import Problem, UserError, nearest
from harness.config.diagnostics import Diagnostics, found
from harness.config.paths import expand_path, folder_or_hub, search_folders, text_files
from harness.config.published_figures import Published, read_registered
from harness.config.schema import StudentSpec, SuiteSpec, TrainingSpec
from harness.config.yaml_tree import KeyPath
from harness.models.students import KEYWORDS, check

if TYPE_CHECKING:
    from harness.api.task import Task
    from harness.plugin_host.host import Host


def get_mapping(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def get_list(data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    return value if isinstance(value, list) else []


def _repeated(values: Sequence[Any], key: str, diagnostics: Diagnostics) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            diagnostics.add((key, index), f"{found(value)} stands twice")


def find_tasks(data: Mapping[str, Any], host: Host, diagnostics: Diagnostics) -> list[str]:
    """The known tasks of the suite, in its order. Floors may name any task there is."""
    _repeated(get_list(data, "tasks"), "tasks", diagnostics)
    _repeated(get_list(data, "seeds"), "seeds", diagnostics)
    known: list[str] = []
    for path in _per_task(data):
        _known_task(str(path[-1]), path, host, diagnostics)
    for index, name in enumerate(get_list(data, "tasks")):
        if isinstance(name, str):
            _known_task(name, ("tasks", index), host, diagnostics)
            if name in host.tasks:
                known.append(name)
                _known_metrics(name, ("tasks", index), host, diagnostics)
    for teacher, body in get_mapping(data, "teachers").items():
        for name, floor in (get_mapping(body, "floor") if isinstance(body, dict) else {}).items():
            path = ("teachers", teacher, "floor", name)
            _known_task(name, path, host, diagnostics)
            if name in host.tasks and host.tasks[name].higher_is_better and isinstance(floor, int | float):
                _on_scale(floor, host.tasks[name], path, diagnostics)
    return known


def _per_task(data: Mapping[str, Any]) -> Iterator[KeyPath]:
    """Where the suite has settings of single tasks. They may be of tasks that it does not run."""
    for task in get_mapping(get_mapping(data, "training"), "per_task"):
        yield ("training", "per_task", task)
    for index, entry in enumerate(get_list(data, "methods")):
        for task in get_mapping(entry, "per_task") if isinstance(entry, dict) else ():
            yield ("methods", index, "per_task", task)


def _on_scale(floor: float, task: Task, path: KeyPath, diagnostics: Diagnostics) -> None:
    """A score in percent is hardly ever to be 1 at least, and a fraction never more."""
    if not task.in_percent and floor > 1:
        diagnostics.add(path, f"{task.score} of {task.name} is a fraction, found {floor:g}: write {floor / 100:g}")
    elif task.in_percent and 0 < floor <= 1:
        diagnostics.add(path, f"{task.score} of {task.name} is in percent, found {floor:g}: write {100 * floor:g}")


def _known_task(name: str, path: KeyPath, host: Host, diagnostics: Diagnostics) -> None:
    if name not in host.tasks:
        diagnostics.add(path, f"unknown task {name!r}; {nearest(name, host.tasks)}{_broken_plugins(host)}")


def _known_metrics(task: str, path: KeyPath, host: Host, diagnostics: Diagnostics) -> None:
    for name in host.tasks[task].metrics:
        if name not in host.metrics:
            message = f"task {task!r} asks for the metric {name!r}, which no plugin registers"
            diagnostics.add(path, f"{message}; {nearest(name, host.metrics)}{_broken_plugins(host)}")


def _broken_plugins(host: Host) -> str:
    """A clause that tells why something may be missing; empty if no plugin is broken."""
    broken = "; ".join(f"{plugin}: {why}" for plugin, why in host.broken.items())
    return f"; plugins that could not be loaded: {broken}" if broken else ""


def find_sources(data: Mapping[str, Any], names: Sequence[str], host: Host, diagnostics: Diagnostics) -> dict[str, str]:
    """Where the data of each source in use come from: a hub id or an absolute folder."""
    known = {task.source for task in host.tasks.values() if task.source}
    given = get_mapping(data, "sources")
    places: dict[str, str] = {}
    for source, value in given.items():
        path = ("sources", source)
        if source not in known:
            diagnostics.add(path, f"unknown source; {nearest(source, known)}")
        elif isinstance(value, str):
            _place(source, value, path, places, diagnostics)
    used: dict[str, str] = {}
    for index, name in enumerate(get_list(data, "tasks")):
        task = host.tasks[name] if name in names else None
        if task and task.source:
            place = places.get(task.source) if task.source in given else task.default_source
            if place is not None:
                used[task.source] = place
            elif task.source not in given:
                diagnostics.add(("tasks", index), f"task {name!r} needs `sources: {{{task.source}: hub id or folder}}`")
    return used


def find_published(data: Mapping[str, Any], host: Host, diagnostics: Diagnostics) -> tuple[Published, ...]:
    """The sources of published figures that a suite chooses, read from their files; by default all there are."""
    _repeated(get_list(data, "published"), "published", diagnostics)
    for index, name in enumerate(get_list(data, "published")):
        if isinstance(name, str) and name not in host.published:
            diagnostics.add(("published", index), f"unknown source of figures; {nearest(name, host.published)}")
    chosen = host.published if data.get("published", True) is True else get_list(data, "published")
    sources = []
    for name in chosen:
        if isinstance(name, str) and name in host.published:
            try:
                sources.append(read_registered(name, host))
            except UserError as error:
                remedy = "mend the file, or list the sources that the suite needs in `published`"
                diagnostics.extend([Problem(f"{each.message}; {remedy}", each.where) for each in error.problems])
    return tuple(sources)


def check_tuning(data: Mapping[str, Any], diagnostics: Diagnostics) -> None:
    """The first trial takes the suite's own learning rate, so that has to be among those that are tuned over."""
    rates, training = get_mapping(data, "tuning").get("lr"), get_mapping(data, "training")
    if not isinstance(rates, list) or len(rates) != 2 or not all(isinstance(rate, float) for rate in rates):
        return
    least, greatest = rates
    usual = {"training.lr": training.get("lr", TrainingSpec.model_fields["lr"].default)}
    for task, own in get_mapping(training, "per_task").items():
        if isinstance(own, dict) and "lr" in own:
            usual[f"training.per_task.{task}.lr"] = own["lr"]
    for key, rate in usual.items():
        if isinstance(rate, float) and least < greatest and not least <= rate <= greatest:
            diagnostics.add(
                ("tuning", "lr"),
                f"{key} is {rate:g}, which is not from {least:g} to {greatest:g}: the first trial takes it",
            )


def check_teacher_seeds(data: Mapping[str, Any], diagnostics: Diagnostics) -> None:
    """Run k of a student learns from teacher k, so a teacher with `seeds` has as many as the suite."""
    runs = data.get("seeds", SuiteSpec.model_fields["seeds"].default)
    if not isinstance(runs, list):  # the schema's check reports it
        return
    for name, body in get_mapping(data, "teachers").items():
        given = get_list(body, "seeds") if isinstance(body, dict) else []
        for index, seed in enumerate(given):
            if seed in given[:index]:
                diagnostics.add(("teachers", name, "seeds", index), f"duplicate seed {found(seed)}")
        if given and len(given) != len(runs):
            diagnostics.add(
                ("teachers", name, "seeds"),
                f"the teacher has {len(given)} seeds, the suite's `seeds` has {len(runs)}: the k-th run of a student"
                " learns from the k-th teacher, so give as many of each, or one `seed` for a teacher of all runs",
            )


def find_models(data: Mapping[str, Any], diagnostics: Diagnostics) -> dict[str, str]:
    """The hub id or absolute folder of each teacher that has a model, and each student that starts from one."""
    places: dict[str, str] = {}
    for name, body in get_mapping(data, "teachers").items():
        if isinstance(body, dict) and isinstance(body.get("model"), str):
            _place(name, body["model"], ("teachers", name, "model"), places, diagnostics)
    for name, body in get_mapping(data, "students").items():
        init = body.get("init") if isinstance(body, dict) else None
        if isinstance(init, str) and init not in KEYWORDS:
            _place(name, init, ("students", name, "init"), places, diagnostics)
    return places


def find_text(data: Mapping[str, Any], diagnostics: Diagnostics) -> str | None:
    """The unlabelled text of the general stages: a hub id, an absolute folder, or an absolute path of .txt files."""
    value = get_mapping(data, "general").get("data")
    if not isinstance(value, str):
        return None
    path, places = ("general", "data"), dict[str, str]()
    if not value.endswith(".txt"):
        _place("text", value, path, places, diagnostics)
        return places.get("text")
    folders = search_folders(diagnostics.root.mark_of(path).folder)
    try:
        patterns = dict.fromkeys(str(expand_path(value, folder).resolve()) for folder in folders)
    except UserError as error:
        diagnostics.add(path, error.problems[0].message)
        return None
    found = next(filter(text_files, patterns), None)
    if found is None:
        diagnostics.add(path, f"{value!r}: there is no file {' nor '.join(patterns)}")
    return found


def check_latency_backends(data: Mapping[str, Any], host: Host, diagnostics: Diagnostics) -> None:
    """The backends that a suite asks for."""
    names = get_list(get_mapping(data, "latency"), "backends")
    for index, name in enumerate(names):
        path = ("latency", "backends", index)
        if isinstance(name, str) and name not in host.latency_backends:
            near = nearest(name, host.latency_backends)
            diagnostics.add(path, f"unknown backend {name!r}; {near}{_broken_plugins(host)}")
        elif name in names[:index]:
            diagnostics.add(path, f"{found(name)} stands twice")


def check_students(data: Mapping[str, Any], diagnostics: Diagnostics) -> None:
    """What cannot be about a student whatever its teacher is, and one that needs a teacher where there is none."""
    for name, body in get_mapping(data, "students").items():
        try:
            spec = StudentSpec.model_validate(body)
        except ValidationError:  # the schema's check tells of it
            continue
        add_student(check(spec, name, None, None), name, diagnostics)
        if not get_mapping(data, "teachers"):
            lacking = [number for number in ("hidden", "heads", "ffn") if getattr(spec, number) is None]
            if isinstance(spec.init, list) or (spec.init in KEYWORDS and spec.init != "random"):
                diagnostics.add(("students", name), "copies layers from a teacher, and the suite has none")
            elif lacking and spec.init in KEYWORDS:
                diagnostics.add(
                    ("students", name), f"needs {', '.join(lacking)}: there is no teacher to take them from"
                )


def add_student(problems: Sequence[Problem], name: str, diagnostics: Diagnostics) -> None:
    """Note problems of a student, each at its own key."""
    for problem in problems:
        key = (problem.where or "").removeprefix(f"students.{name}").removeprefix(".")
        diagnostics.add(("students", name, *([key] if key else [])), problem.message)


def _place(name: str, value: str, path: KeyPath, places: dict[str, str], diagnostics: Diagnostics) -> None:
    folders = search_folders(diagnostics.root.mark_of(path).folder)
    try:
        places[name] = folder_or_hub(value, folders)
    except UserError as error:
        diagnostics.add(path, error.problems[0].message)


def check_distinct_names(data: Mapping[str, Any], diagnostics: Diagnostics) -> None:
    """A name stands for one model: messages and tables would confuse a teacher and a student of one name."""
    for name in get_mapping(data, "students"):
        if name in get_mapping(data, "teachers"):
            diagnostics.add(("students", name), "a teacher has this name; give the student another")
