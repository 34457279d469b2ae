"""The plan file of a results folder: everything that a suite requests."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from harness.api.task import LabelScale
from harness.config.latency_schema import LatencySpec
from harness.storage.frozen_model import Count, FrozenModel, PathName
from harness.storage.records import SCHEMA_VERSION


class PlannedGeneral(FrozenModel):
    """A planned text stage, with which runs of the suite start."""

    key: PathName
    labels: list[str] = Field(description="rows of the board that start with it")
    student: str
    data: str = Field(description="hub id, folder or files, as in the suite")
    steps: int


class DataReport(FrozenModel):
    """Statistics of a task's examples. None of them is an error."""

    examples: dict[str, int] = Field(description="validation split -> number of examples")
    overlap: dict[str, int] = Field(
        description="validation split -> examples with the same texts as a training example"
    )
    repaired: dict[str, int] = Field(
        default_factory=dict, description="split -> number of answers whose start was corrected"
    )
    labels: LabelScale | None = Field(None, description="of the training labels; none: the task is no regression")
    standardized: bool = Field(False, description="whether models are trained on standardized labels")


class TruncatedTexts(FrozenModel):
    """Truncation of a task's texts by the tokenizer of some students. The counts may be those of a sample."""

    students: list[str]
    max_length: int
    examined: dict[str, int] = Field(description="train, or validation split -> number of examined examples")
    longer: dict[str, int] = Field(description="the same -> those with more than `max_length` tokens")


class PlannedTask(FrozenModel):
    """A task of the suite: a column of the board."""

    name: str
    kind: Literal["classification", "multilabel", "regression", "token_classification", "qa"]
    score: str = Field(description="name of the metric that is the score")
    synthetic: bool
    labels: list[str] = Field(default_factory=list, description="names of the classes")
    percent: bool = Field(False, description="whether scores are from 0 to 100, or errors; else from 0 to 1")
    diagnostic: bool = Field(False, description="excluded from average and rank")
    higher_is_better: bool = True
    data: DataReport | None = Field(None, description="none: written by an older version")
    data_fingerprint: PathName | None = Field(
        None, description="fingerprint of the examples to score; none: written by an older version, or nothing to score"
    )
    truncated: list[TruncatedTexts] = Field(
        default_factory=list,
        description="for each tokenizer of the students; empty: no truncation, or written by an older version",
    )


class PlannedRun(FrozenModel):
    """A planned run."""

    key: PathName
    task: str
    label: str
    method: str
    student: str
    seed: int
    teachers: list[str]
    teacher_seeds: list[int | None] = Field(
        default_factory=list, description="seeds that `teachers` are fine-tuned with; none: fine-tuned before"
    )
    assistants: dict[str, PathName] = Field(
        default_factory=dict, description="teacher that is a row of the suite -> key of the run whose student it is"
    )


class PlannedAssistant(FrozenModel):
    """A teacher that is the trained student of a row of the board."""

    label: str
    student: str
    seed: int | None = Field(None, description="seed of its run; none: each run learns from the run of its own seed")


class PlannedRow(FrozenModel):
    """The settings of a label. Rows with the same `entry` belong to one grid."""

    method: str
    entry: int = Field(description="index in the suite's `methods`")
    plain: bool = Field(description="whether the entry sets no option, stage or teachers")
    options: dict[str, Any] = Field(description="all options of the method with their values")
    stages: dict[str, dict[str, Any]] = Field(default_factory=dict, description="stage -> settings of the suite")
    teachers: list[str]
    general: bool = Field(False, description="whether it starts with a text stage")
    per_task: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="task -> options and stages that differ from the above"
    )
    protocol: str = Field("", description="summary of text stage, data, stages and length; empty: no run")

    @property
    def settings(self) -> dict[str, Any]:
        """Everything in which rows of one method can differ. The four names added to the options are reserved."""
        others = {"stages": self.stages, "teachers": self.teachers, "general": self.general, "per_task": self.per_task}
        return {**self.options, **others}


class EncoderShape(FrozenModel):
    """Architecture of an encoder. `init` describes a student's initialization."""

    layers: Count
    hidden: Count
    heads: Count
    ffn: Count
    init: str = ""


class NotApplicable(FrozenModel):
    """A cell of the board that cannot be computed, with the reason."""

    task: str
    label: str
    student: str
    reason: str


class PublishedFigure(FrozenModel):
    """A published score for a row of the board on one task. It is in no rank and no average."""

    task: str
    label: str
    student: str = Field(description="empty for a teacher")
    values: list[float] = Field(description="as printed, from 0 to 100")
    metrics: list[str] = Field(description="metric of each value")
    model: str = Field(description="as printed")
    teacher: str | None = Field(description="teacher of the published model; none for a teacher")
    source: str
    title: str
    url: str
    split: str
    where: str = Field(description="table or page in the source, and split")


class PlannedStudy(FrozenModel):
    """The planned tuning of a row of the board on a task and a student."""

    key: PathName | None = Field(description="none: the row has nothing to tune on it")
    task: str
    label: str
    student: str


class PlannedTuning(FrozenModel):
    """The tuning budget of each row."""

    trials: int
    seed: int
    on: Literal["train", "validation"] = Field(description="train: trials are scored on a held-out split")
    studies: list[PlannedStudy]


TeacherKeys = Annotated[list[PathName], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
"""Keys of a teacher on one task. Plans of older versions have a single key instead of a list."""


class PlanFile(FrozenModel):
    """`plan.json`: everything that a suite requests, so that missing runs are detected."""

    schema_version: int = SCHEMA_VERSION
    suite: str
    command: str = Field(description="the command that wrote it, as a user would type it")
    tasks: list[PlannedTask]
    students: list[str]
    labels: list[str] = Field(description="rows of the board, in the suite's order")
    teachers: dict[str, dict[str, TeacherKeys]] = Field(
        description="teacher -> task -> keys: one for all runs, or one for each of `seeds`, in the same order"
    )
    assistants: dict[str, PlannedAssistant] = Field(
        default_factory=dict, description="teacher that is a row of the board -> that row"
    )
    seeds: list[int]
    runs: list[PlannedRun]
    not_applicable: list[NotApplicable]
    limits: dict[str, int] = Field(default_factory=dict, description="number of examples of limited splits")
    citations: dict[str, str] = Field(default_factory=dict, description="method -> BibTeX")
    generals: list[PlannedGeneral] = Field(
        default_factory=list, description="text stages; assistants before their students"
    )
    latency: LatencySpec | None = Field(None, description="settings of the latency measurement; none: not measured")
    published: list[PublishedFigure] = Field(
        default_factory=list, description="published figures to show with the board, as of the time of planning"
    )
    rows: dict[str, PlannedRow] = Field(default_factory=dict, description="label -> its settings")
    shapes: dict[str, EncoderShape] = Field(
        default_factory=dict, description="student or teacher -> architecture, if known"
    )
    tuning: PlannedTuning | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Check that its parts refer to each other, so that a report of an edited plan does not fail halfway."""
        tasks = [task.name for task in self.tasks]
        allowed: dict[str, set[Any]] = {
            "task": {*tasks},
            "label": {*self.labels},
            "student": {*self.students},
            "seed": {*self.seeds},
        }
        if len({*tasks}) < len(tasks) or len({*self.seeds}) < len(self.seeds):
            raise ValueError("duplicate task or seed")
        studies = self.tuning.studies if self.tuning else ()
        cells = [*self.runs, *self.not_applicable, *self.assistants.values(), *studies]
        for cell in cells:
            for name, values in allowed.items():
                if (value := getattr(cell, name, None)) is not None and value not in values:
                    raise ValueError(f"unknown {name} {value!r}")
        seeds = Counter((run.task, run.label, run.student) for run in self.runs)
        if len({(run.task, run.label, run.student, run.seed) for run in self.runs}) < len(self.runs):
            raise ValueError("duplicate run")
        for cell_of_runs, count in seeds.items():
            if count != len(self.seeds):
                raise ValueError(f"{count} runs of {', '.join(cell_of_runs)}, expected one for each seed")
        for name, by_task in self.teachers.items():
            for task, keys in by_task.items():
                if task not in allowed["task"] or len(keys) not in (1, len(self.seeds)):
                    raise ValueError(f"unknown task {task!r} of teacher {name!r}, or not one key for each seed")
        return self

    @property
    def scored_teachers(self) -> dict[str, str | None]:
        """Key of each teacher -> `data_fingerprint` of the examples that it is scored on, if the plan has it."""
        fingerprints = {task.name: task.data_fingerprint for task in self.tasks}
        by_tasks = self.teachers.values()
        return {key: fingerprints[task] for by_task in by_tasks for task, keys in by_task.items() for key in keys}

    def teacher_keys(self, name: str, task: str) -> dict[int | None, str]:
        """Return the keys of a teacher by the seed of the runs that learn from it; None: runs of all seeds.

        A teacher that is a row of the board has the keys of that row's runs.
        """
        if name in self.assistants:
            return self._assistant_keys.get((name, task), {})
        keys = self.teachers.get(name, {}).get(task, [])
        seeds = self.seeds if len(keys) > 1 else [None] * len(keys)
        return dict(zip(seeds, keys, strict=True))

    @cached_property
    def _assistant_keys(self) -> dict[tuple[str, str], dict[int | None, str]]:
        """(Teacher that is a row of the board, task) -> `teacher_keys`."""
        found: dict[tuple[str, str], dict[int | None, str]] = {}
        for name, row in self.assistants.items():
            for run in self.runs:
                if (run.label, run.student) == (row.label, row.student) and row.seed in (None, run.seed):
                    seed = None if row.seed is not None else run.seed
                    found.setdefault((name, run.task), {})[seed] = run.key
        return found

    def teacher_key(self, name: str, task: str, seed: int | None) -> str | None:
        """Return the key of the teacher for runs with that seed; None: there is none on that task."""
        keys = self.teacher_keys(name, task)
        return keys.get(seed, keys.get(None))
