"""Data classes of a validated suite: method variants, cells of the board, the resolved suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config.method_schema import StageOverride
from harness.config.schema import SuiteSpec

if TYPE_CHECKING:  # torch, through the method interface
    from harness.api.method import Method, MethodConfig, TaskInfo
    from harness.api.model_outputs import ModelShape
    from harness.api.task import Task
    from harness.config.published_figures import Published
    from harness.config.yaml_tree import Node


@dataclass(frozen=True)
class TaskOverride:
    """Validated options and stages of a row that differ on one task."""

    config: MethodConfig
    stages: Mapping[str, StageOverride]


@dataclass(frozen=True)
class MethodVariant:
    """A method with validated options: one row of the board per student.

    Attributes:
        label: the name on the board.
        method, config: the method class and its options.
        stages: overrides of its stages, by name.
        students, teachers: names of students and teachers of the suite.
        path: the path of its entry in the suite file.
        general: whether its students start with a text stage.
        per_task: options and stages that differ, by task.
    """

    label: str
    method: type[Method]
    config: MethodConfig
    stages: Mapping[str, StageOverride]
    students: tuple[str, ...]
    teachers: tuple[str, ...]
    path: tuple[str | int, ...] = ("methods",)
    general: bool = False
    per_task: Mapping[str, TaskOverride] = field(default_factory=dict)

    def bind(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape], seed: int) -> Method:
        """Create the method with these options for one task, student and seed."""
        return self.method(self.config, task=task, student=student, teachers=teachers, seed=seed)

    def on(self, task: str) -> MethodVariant:
        """Return the row with the options and stages of that task."""
        override = self.per_task.get(task)
        return replace(self, config=override.config, stages=override.stages) if override else self


@dataclass(frozen=True)
class Cell:
    """One (task, variant, student) of the board. It runs once per seed, or it is n/a for `reason`.

    `variant` has the options and stages of the task (`MethodVariant.on`).
    """

    task: Task
    variant: MethodVariant
    student: str
    reason: str | None = None


@dataclass(frozen=True)
class RowTeacher:
    """A teacher that is the trained student of a row of the suite: a teacher assistant.

    Attributes:
        label: the row.
        student: the student of the row.
        seed: the seed of its run, from which the runs of all seeds learn; None: each learns from the run of its own.
    """

    label: str
    student: str
    seed: int | None = None

    def __str__(self) -> str:
        seed = "of the same seed" if self.seed is None else f"seed {self.seed}"
        return f"row {self.label} on {self.student}, {seed}"


@dataclass(frozen=True)
class Suite:
    """A validated suite file.

    Attributes:
        spec: the settings of the file.
        path: the file.
        tasks, variants: tasks and rows of the board, in the order of the file.
        sources: hub id or absolute folder of each data source in use.
        models: hub id or absolute folder of each teacher with a `model` and each student that starts from a model.
        text: unlabelled text of the text stages: a hub id or an absolute path; for .txt files it may have wildcards.
        tree: the YAML tree with the file and line of each key.
        published: the selected sources of published figures.
        rows: the teachers that are rows of the suite, by name.
        plugin_tasks: names of those of `tasks` that a plugin defines which is not part of kd-harness.
    """

    spec: SuiteSpec
    path: Path
    tasks: tuple[Task, ...]
    variants: tuple[MethodVariant, ...]
    sources: Mapping[str, str]
    models: Mapping[str, str]
    text: str | None = None
    tree: Node | None = field(default=None, repr=False)
    published: tuple[Published, ...] = ()
    rows: Mapping[str, RowTeacher] = field(default_factory=dict)
    plugin_tasks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Resolved:
    """A suite and the cells of its board, as far as they can be decided before any training.

    `shapes` has the teachers and students whose shape is known. `unchecked` lists what could not be checked because
    it is on the hub; each entry continues the words "not checked:".
    """

    suite: Suite
    cells: tuple[Cell, ...]
    shapes: Mapping[str, ModelShape]
    unchecked: tuple[str, ...] = ()
