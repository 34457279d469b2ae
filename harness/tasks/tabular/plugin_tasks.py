"""Tasks on files for plugins, with the keys and checks of tasks that suites declare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.api.errors import Problem, UserError
from harness.api.task import Task
from harness.config.diagnostics import validation_messages
from harness.config.paths import find_files, folder_or_hub
from harness.config.task_schema import TaskSpec
from harness.tasks.tabular.declared_task import declared_task


def tabular_task(name: str, *, folder: str | Path = ".", **declaration: Any) -> Task:
    """Return the task of a declaration, for `harness_register_tasks`.

    Args:
        name: name of the task.
        folder: folder of the files, or a file in it, such as ``__file__``; relative paths start there.
        declaration: the keys of a task in a suite (`harness.config.task_schema.TaskSpec`, docs/your-data.md).

    Raises:
        UserError: the declaration is invalid, or its files cannot be read.
    """
    place = Path(folder).expanduser().resolve()
    place = place.parent if place.is_file() else place
    if isinstance(labels := declaration.get("labels"), dict):
        declaration["labels"] = {str(value): text for value, text in labels.items()}
    try:
        spec = TaskSpec.model_validate(declaration)
    except ValidationError as error:
        messages = validation_messages(error, TaskSpec)
        raise UserError(*(Problem(f"task {name!r}: {message}") for message in messages)) from error

    def locate(key: str, value: str) -> str:
        return folder_or_hub(value, [place]) if key == "data" else find_files(value, [place])

    return declared_task(name, spec, locate)
