"""Records of runs and teachers, and the plan file: everything that a report is made from."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from harness.api.events import EpochScore, LossPoint
from harness.config.latency_schema import LatencySpec
from harness.storage.frozen_model import Count, FrozenModel, PathName, Seconds

SCHEMA_VERSION = 1


class SelectionRecord(FrozenModel):
    """The data that an epoch or options were selected on, and the selected epoch."""

    on: Literal["train", "validation"] = Field(
        description="train: on a held-out split; validation: on the reported splits"
    )
    share: float | None = Field(None, description="requested share of the training split")
    seed: int | None = Field(None, description="seed of the held-out split")
    examples: int = Field(description="number of examples selected on")
    fingerprint: str = Field(description="fingerprint of these examples")
    epochs: list[EpochScore] = Field(
        default_factory=list, description="scores of the last stage's epochs; empty: no epoch was selected"
    )
    step: int | None = Field(None, description="step of the selected weights; none: the last step")


class Cost(FrozenModel):
    """Cost of a run. In a cohort, the cost of a teacher's forward pass is shared evenly by the runs that use it."""

    wall_seconds: Seconds
    student_seconds: Seconds
    teacher_seconds: Seconds = Field(description="the run's share of the forward passes that it used")
    teacher_seconds_whole: Seconds | None = Field(
        None, description="these passes without sharing: the cost if the run were trained alone"
    )
    evaluation_seconds: Seconds
    steps: Count
    tokens: Count = Field(description="tokens that the student was trained on, without padding")
    padding: float | None = Field(None, description="share of padding in all tokens processed in training")
    teacher_forwards: Count = Field(
        description="forward passes of teachers whose outputs the run used; 0 if they were cached"
    )
    cohort_size: Count = Field(description="number of runs in its cohort, as it first started")
    peak_memory_bytes: Count | None = None
    micro_batch_size: Count | None = Field(
        None, description="examples of one forward and backward pass in the last step; none: steps were not split"
    )
    skipped_steps: Count = Field(0, description="steps without an update, because gradients overflowed in fp16")


class Hardware(FrozenModel):
    """Hardware of a machine. A board marks results of machines that differ in `device` or `name`."""

    device: str = Field(description="cpu, cuda, mps")
    name: str = Field(description="model name of the CPU or accelerator")
    cores: Count
    threads: Count
    memory_bytes: Count


class Provenance(FrozenModel):
    """Provenance of a result."""

    hardware: Hardware
    packages: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    started: str = Field(description="ISO 8601, UTC")
    ended: str


class ModelSize(FrozenModel):
    """Size of a model."""

    parameters: Count
    layers: Count
    hidden: Count
    heads: Count
    ffn: Count
    flops: Count | None = Field(None, description="of one forward pass of one example at the suite's max_length")


class TuningSummary(FrozenModel):
    """The tuning of a row, as used by a run. The costs of tuning and run do not include each other."""

    study: str = Field(description="key of the `TuningRecord` with all trials")
    trials: Count
    values: dict[str, Any] = Field(description="option -> selected value; `training.lr`: the learning rate")
    score: float | None = Field(description="of these values on the held-out split; none if all trials failed")
    seconds: Seconds = Field(description="duration of all trials; shared by the runs of a row")


class RunRecord(FrozenModel):
    """Record of a run: one student, trained and scored, or failed."""

    schema_version: int = SCHEMA_VERSION
    key: str
    status: Literal["completed", "failed"]
    task: str
    method: str
    label: str
    student: str
    teachers: list[str]
    teacher_seeds: list[int | None] = Field(
        default_factory=list, description="seeds that `teachers` were fine-tuned with; none: fine-tuned before"
    )
    assistants: dict[str, PathName] = Field(
        default_factory=dict, description="teacher that is a row of the suite -> key of the run whose student it is"
    )
    seed: int
    data_fingerprint: PathName = Field(description="fingerprint of the scored examples")
    score: float | None = Field(
        None, description="none: the run failed, or the labels are hidden; NaN: undefined for its predictions"
    )
    metrics: dict[str, float] = Field(default_factory=dict, description="NaN: undefined for these predictions")
    error: str | None = None
    parts: dict[str, Any] = Field(description="parts of the key")
    losses: list[LossPoint] = Field(default_factory=list)
    notes: dict[str, Any] = Field(
        default_factory=dict, description="choices of the method, such as a random layer mapping"
    )
    selection: SelectionRecord | None = Field(
        None, description="none: nothing was selected, and there is no held-out split"
    )
    tuning: TuningSummary | None = Field(None, description="none: the row was not tuned")
    cost: Cost
    size: ModelSize | None = Field(description="none: it failed before its student was built")
    provenance: Provenance

    @model_validator(mode="after")
    def _completed_runs_have_a_size(self) -> RunRecord:
        if self.status == "completed" and self.size is None:
            raise ValueError("a completed run has a size")
        return self

    @property
    def model_size(self) -> ModelSize:
        """Size of the student. Raises `ValueError` for a run that failed before its student was built."""
        if self.size is None:
            raise ValueError(f"run {self.key} failed before its student was built")
        return self.size


class RunSummary(FrozenModel):
    """The fields of a `RunRecord` that tell whether the run is done. Reading them takes a third of the time."""

    model_config = ConfigDict(extra="ignore", title="RunRecord")

    schema_version: int = SCHEMA_VERSION
    key: str
    status: Literal["completed", "failed"]
    task: str
    method: str
    label: str
    student: str
    seed: int
    error: str | None = None


class RunParts(FrozenModel):
    """The parts of the key in a `RunRecord`."""

    model_config = ConfigDict(extra="ignore", title="RunRecord")

    schema_version: int = SCHEMA_VERSION
    key: str
    parts: dict[str, Any]


class TeacherRecord(FrozenModel):
    """Record of a teacher that was fine-tuned on one task, or before, and scored like its students."""

    schema_version: int = SCHEMA_VERSION
    key: str
    name: str = Field(description="row of the board; shared by teachers of several seeds")
    model: str = Field(description="hub id, folder, or `from scratch`")
    task: str
    seed: int | None = Field(
        None, description="seed of the fine-tuning; none: not fine-tuned by the harness, or written by an older version"
    )
    finetune: bool = Field(True, description="false: a fine-tuned checkpoint, which was scored and not trained")
    head: str = Field("", description="where its head comes from; empty: it was new")
    warnings: list[str] = Field(default_factory=list, description="what is wrong with its predictions")
    data_fingerprint: PathName
    score: float | None = Field(description="none: the labels are hidden")
    metrics: dict[str, float]
    floor: float | None = None
    parts: dict[str, Any]
    losses: list[LossPoint] = Field(default_factory=list)
    cost: Cost
    size: ModelSize
    provenance: Provenance

    @property
    def model_size(self) -> ModelSize:
        """Size of the teacher."""
        return self.size


class GeneralRecord(FrozenModel):
    """Record of a student that was distilled on unlabelled text."""

    schema_version: int = SCHEMA_VERSION
    key: str
    method: str
    label: str = Field(description="first row of the board that uses it")
    student: str
    seed: int
    parts: dict[str, Any] = Field(description="parts of the key")
    losses: list[LossPoint] = Field(default_factory=list)
    notes: dict[str, Any] = Field(default_factory=dict)
    cost: Cost
    size: ModelSize
    provenance: Provenance


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


class PlannedTask(FrozenModel):
    """A task of the suite: a column of the board."""

    name: str
    kind: Literal["classification", "multilabel", "regression", "token_classification", "qa"]
    score: str = Field(description="name of the metric that is the score")
    synthetic: bool
    labels: list[str] = Field(default_factory=list, description="names of the classes")
    percent: bool = Field(False, description="whether scores are from 0 to 100; else from 0 to 1")
    diagnostic: bool = Field(False, description="excluded from average and rank")
    higher_is_better: bool = True
    data: DataReport | None = Field(None, description="none: written by an older version")


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
    stages: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="stage -> lengths and learning rates set in the suite"
    )
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
    limits: dict[str, int] = Field(
        default_factory=dict, description="number of examples of limited splits; not empty: a rehearsal"
    )
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
