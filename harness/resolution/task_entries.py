"""Tasks that a suite declares in its entries of `tasks`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.api.errors import UserError
from harness.api.names import is_name
from harness.config.diagnostics import Diagnostics, format_value
from harness.config.paths import find_files, folder_or_hub, search_folders
from harness.config.task_schema import TaskSpec
from harness.config.yaml_tree import KeyPath, Node
from harness.plugin_host.contribution_checks import task_faults

if TYPE_CHECKING:
    from harness.api.task import Task
    from harness.plugin_host.host import Host

HOW_TO_DECLARE = (
    "to train on your own data, declare it: `- {name}: {{kind: classification, train: reviews.csv, validation: 0.1,"
    " text: review, label: stars}}` (docs/your-data.md)"
)
"""How a task is declared, for the message about an unknown one."""


def check_form(root: Node, diagnostics: Diagnostics) -> Node:
    """Return `root` without entries of `tasks` that are neither a name nor one name with its declaration."""
    tasks = root.child("tasks")
    if tasks is None or not isinstance(tasks.value, list):
        return root
    entries = [entry for entry in tasks.value if _has_form(entry, diagnostics)]
    return Node(root.value | {"tasks": Node(entries, tasks.mark)}, root.mark)


def _has_form(entry: Node, diagnostics: Diagnostics) -> bool:
    if not isinstance(entry.value, dict):
        return True
    keys = list(entry.value)
    name = keys[0] if keys else "reviews"
    if len(keys) > 1:
        found = ", ".join(map(repr, keys[:4]))
        diagnostics.add_at(
            entry.mark,
            f"tasks: expected one task per entry, found {found}; start a new entry with `-`, or indent the declaration"
            f" of {name!r} below it",
        )
        return False
    if not keys or not isinstance(entry.value[name].value, dict):
        found = format_value(entry.value[name].plain()) if keys else "an empty mapping"
        diagnostics.add_at(
            entry.mark, f"tasks.{name}: expected a declaration, found {found}; {HOW_TO_DECLARE.format(name=name)}"
        )
        return False
    return True


def declarations(data: dict[str, Any]) -> Iterator[tuple[int, str, Any]]:
    """Yield index, name and declaration of each declared task."""
    tasks = data.get("tasks")
    for index, entry in enumerate(tasks if isinstance(tasks, list) else []):
        if isinstance(entry, dict):
            yield from ((index, name, body) for name, body in entry.items())


def declare(data: dict[str, Any], host: Host, diagnostics: Diagnostics) -> dict[str, Task]:
    """Return the tasks that the suite declares, by name. Invalid ones are reported and left out.

    Files are searched in the folder of the file that names them, then in the working folder.
    """
    tasks: dict[str, Task] = {}
    for index, name, body in declarations(data):
        path: KeyPath = ("tasks", index, name)
        if not is_name(name):  # reported by the schema's check
            continue
        if name in host.tasks:
            diagnostics.add(path, f"duplicate name: {name!r} is a registered task; rename the declared one")
            continue
        try:
            spec = TaskSpec.model_validate(body)
        except ValidationError:  # reported by the schema's check
            continue
        try:
            task = _declare(name, spec, host, path, diagnostics)
        except UserError as error:
            for problem in error.problems:
                where = (*path, problem.where) if problem.where in TaskSpec.model_fields else path
                diagnostics.add(where, problem.message)
            continue
        faults = list(task_faults(task))
        for fault in faults:
            diagnostics.add(path, fault)
        if not faults:
            tasks[name] = task
    return tasks


def _declare(name: str, spec: TaskSpec, host: Host, path: KeyPath, diagnostics: Diagnostics) -> Task:
    from harness.tasks.tabular.declared_task import declared_task

    def locate(key: str, value: str) -> str:
        working, suite = search_folders(diagnostics.root.mark_of((*path, key)).folder)
        return folder_or_hub(value, (suite, working)) if key == "data" else find_files(value, (suite, working))

    return declared_task(name, spec, locate, metrics=host.metrics)
