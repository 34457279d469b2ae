"""Pydantic model of the suite file: its top-level keys. Each section has a module of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Discriminator, Field, Tag

from harness.api.names import Name
from harness.config.latency_schema import LatencySpec
from harness.config.method_schema import MethodSpec
from harness.config.selection_schema import SelectionSpec, TuningSpec
from harness.config.setting_types import Device, Seed
from harness.config.strict_model import Strict
from harness.config.student_schema import StudentSpec
from harness.config.task_schema import TaskSpec
from harness.config.teacher_schema import TeacherCacheSpec, TeacherSpec
from harness.config.text_stage_schema import GeneralSpec
from harness.config.training_schema import TrainingSpec

NAMED, DECLARED = "<named task>", "<declared task>"
"""Tags of the branches of `TaskEntry`, which pydantic adds to the locations of errors."""

TaskEntry = Annotated[
    Annotated[str, Tag(NAMED)] | Annotated[dict[Name, TaskSpec], Tag(DECLARED)],
    Discriminator(lambda entry: DECLARED if isinstance(entry, dict) else NAMED),
]
"""An entry of `tasks`: the name of a registered task, or a name and its declaration."""


class SuiteSpec(Strict):
    """A suite file."""

    not_in_key: ClassVar[Mapping[str, str]] = {
        "name": "a name",
        "tasks": "the name and data of a run's task are part of its key",
        "teachers": "the keys of a run's teachers are part of its key",
        "students": "a run's student is part of its key",
        "methods": "a run's method is part of its key",
        "seeds": "a run's seed is part of its key",
        "sources": "fingerprints of data are part of keys, not where they were read from",
        "training": "part of the key as resolved for the task",
        "general": "the key of the text stage is part of the key",
        "latency": "measurements have keys of their own",
        "selection": "part of the keys of runs that keep their best epoch",
        "tuning": "part of the keys of rows that are tuned",
        "plugins": "a method's name and version are part of the key",
        "device": "part of the key under `numeric`",
        "published": "shown on the board only",
        "tracking": "observes runs; does not change a result",
        "trust_remote_code": "the fingerprint of a checkpoint includes its code; code of another repository is refused",
    }

    name: Name = Field(description="name of the suite: results go to `results/<name>/`")
    tasks: Annotated[list[TaskEntry], Field(min_length=1)] = Field(
        description="names of registered tasks, and tasks declared here: `name: {kind: ..., train: ...}`"
    )
    teachers: dict[Name, TeacherSpec] = Field(default_factory=dict, description="teachers by name")
    students: Annotated[dict[Name, StudentSpec], Field(min_length=1)] = Field(description="students by name")
    methods: Annotated[list[MethodSpec], Field(min_length=1)] = Field(
        description="names of methods, each with options if you like; an entry is one row of the board per student"
    )
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field([1, 2, 3], description="each cell runs once per seed")
    sources: dict[str, str] = Field(default_factory=dict, description="source -> hub id or local folder")
    training: TrainingSpec = Field(TrainingSpec(), description="training settings of all runs")
    general: GeneralSpec | None = Field(
        None, description="unlabelled text on which some methods distil before any task"
    )
    latency: LatencySpec | None = Field(None, description="shapes and backends of the latency measurement")
    selection: SelectionSpec | None = Field(None, description="default: keep the last step, hold nothing out")
    tuning: TuningSpec | None = Field(
        None, description="default: use the options of the suite and the defaults of the methods"
    )
    teacher_cache: TeacherCacheSpec = Field(TeacherCacheSpec(), description="disk limit of cached teacher outputs")
    plugins: list[str] = Field(default_factory=list, description=".py files or folders, relative to the suite")
    device: Device | None = Field(None, description="cpu, cuda, cuda:1, mps; default: the best one available")
    published: bool | list[str] = Field(
        True, description="published figures to show on the board: all that match, none, or those of the listed sources"
    )
    tracking: list[str] = Field(
        default_factory=list,
        description="trackers that record the runs: json, tensorboard, mlflow, wandb, or a plugin's",
    )
    trust_remote_code: bool = Field(False, description="run Python code contained in a model's folder or repository")

    @property
    def first_teacher(self) -> str | None:
        """The first teacher that is not a row of the suite: students take their family and weights from it."""
        return next((name for name, teacher in self.teachers.items() if teacher.row is None), None)

    @property
    def effective_selection(self) -> SelectionSpec | None:
        """`selection`, or its default for tuned suites, `{epoch: last}`. None: nothing is chosen."""
        if self.selection is None and self.tuning is not None:
            return SelectionSpec(epoch="last")
        return self.selection
