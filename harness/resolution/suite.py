"""A suite after validation: names looked up, grids expanded, every cell of the board decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config.schema import StageOverride, SuiteSpec

if TYPE_CHECKING:  # torch, through the method interface
    from harness.api.method import Method, MethodConfig
    from harness.api.model_outputs import ModelShape
    from harness.api.task import Task
    from harness.config.published_figures import Published
    from harness.config.yaml_tree import Node


@dataclass(frozen=True)
class TaskOverride:
    """A row's settled options and stages on a task where they differ."""

    config: MethodConfig
    stages: Mapping[str, StageOverride]


@dataclass(frozen=True)
class MethodVariant:
    """One row of the board for each student: a method with its options settled.

    `teachers` are names of the suite's teachers, as many as the method takes; `students` likewise. `path` is where in
    the suite its entry stands. `general`: whether its students begin with a stage on unlabelled text. `per_task` has
    the options and stages of tasks on which they differ.
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

    def on(self, task: str) -> MethodVariant:
        """The row as it is on that task."""
        own = self.per_task.get(task)
        return replace(self, config=own.config, stages=own.stages) if own else self


@dataclass(frozen=True)
class Cell:
    """One (task, variant, student): it runs once for each seed, or it is n/a for `reason`. `variant` is the row as it
    is on that task."""

    task: Task
    variant: MethodVariant
    student: str
    reason: str | None = None


@dataclass(frozen=True)
class Suite:
    """A suite file, read and checked. `path` is the file.

    `sources` maps each source in use to a hub id or to an absolute folder; likewise `models` each teacher that has a
    model, and each student that starts from one. `text` is the unlabelled text of the general stages: a hub id, or an
    absolute path, which for .txt files may hold wildcards. `tree` knows where each key was written. `published` has the
    sources of published figures that the suite chooses.
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


@dataclass(frozen=True)
class Resolved:
    """What `run` will do, as far as it can be told before any training.

    `shapes` holds teachers and students whose shape is known; `unchecked` says what only a hub could tell: clauses
    that go on from "not checked:".
    """

    suite: Suite
    cells: tuple[Cell, ...]
    shapes: Mapping[str, ModelShape]
    unchecked: tuple[str, ...] = ()
