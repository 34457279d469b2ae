"""Records of runs, teachers and text stages."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from harness.api.events import EpochScore, LossPoint
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
    values: dict[str, Any] = Field(description="option -> selected value; also `training.lr` and `training.batch_size`")
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


class Scoring(FrozenModel):
    """What a task is scored by: its metrics, and the value of them that is its score."""

    metrics: tuple[str, ...]
    score: str


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
    scoring: Scoring | None = Field(
        None, description="metrics and score of the task when it was scored; none: written by an older version"
    )
    floor: float | None = None
    weights: list[str] = Field(
        default_factory=list,
        description="digests of the weights that give this result: several machines may train a teacher of one key"
        " with other last bits; none: written by an older version",
    )
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
