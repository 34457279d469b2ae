"""The record of a run: what the store keeps, and all that a report may read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from harness.api.events import EpochScore, LossPoint
from harness.config.schema import LatencySpec
from harness.storage.frozen_model import FrozenModel

SCHEMA_VERSION = 1


class SelectionRecord(FrozenModel):
    """On what something was chosen, and which epoch was."""

    on: Literal["train", "validation"] = Field(description="held out of the training split, or what is reported")
    share: float | None = Field(None, description="of the training split, as asked for")
    seed: int | None = Field(None, description="of the examples held out")
    examples: int = Field(description="to choose on")
    fingerprint: str = Field(description="of these examples")
    epochs: list[EpochScore] = Field(default_factory=list, description="of the last stage; none: no epoch was chosen")
    step: int | None = Field(None, description="after which the weights that were kept were there; none: the last one")


class Cost(FrozenModel):
    """What the run took. In a cohort a teacher's forward pass is shared evenly among the runs that read it."""

    wall_seconds: float
    student_seconds: float
    teacher_seconds: float = Field(description="the run's share of the forward passes that it read")
    teacher_seconds_whole: float | None = Field(
        None, description="those passes, not shared: what it would have paid with its teachers to itself"
    )
    evaluation_seconds: float
    steps: int
    tokens: int = Field(description="real tokens the student was trained on")
    padding: float | None = Field(None, description="share of padding among all tokens that it computed in training")
    teacher_forwards: int = Field(
        description="forward passes of all teachers of the cohort, counted once; 0 where their tensors were kept before"
    )
    cohort_size: int
    peak_memory_bytes: int | None = None
    micro_batch_size: int | None = Field(
        None, description="examples of one forward and backward pass, where a step was split; of the last step"
    )
    skipped_steps: int = Field(0, description="steps that changed nothing, as their gradients overflowed in fp16")


class Hardware(FrozenModel):
    """The machine. Results of machines that differ in `device` or `name` are marked on a board."""

    device: str = Field(description="cpu, cuda, mps")
    name: str = Field(description="processor or accelerator, as it names itself")
    cores: int
    threads: int
    memory_bytes: int


class Provenance(FrozenModel):
    """Where a result comes from."""

    hardware: Hardware
    packages: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    started: str = Field(description="ISO 8601, UTC")
    ended: str


class ModelSize(FrozenModel):
    """A model in numbers."""

    parameters: int
    layers: int
    hidden: int
    heads: int
    ffn: int
    flops: int | None = Field(None, description="of one forward pass of one example at the suite's max_length")


class TuningSummary(FrozenModel):
    """What a run took over from the tuning of its row. Its own cost is not in here, nor is this in that."""

    study: str = Field(description="key of the `TuningRecord`, which holds every trial")
    trials: int
    values: dict[str, Any] = Field(description="option -> what was chosen; `training.lr`: the learning rate")
    score: float | None = Field(description="of these, on the held-out part; none if every trial failed")
    seconds: float = Field(description="that all trials took; runs of one row share it")


class RunRecord(FrozenModel):
    """One student, trained and scored, or failed."""

    schema_version: int = SCHEMA_VERSION
    key: str
    status: Literal["completed", "failed"]
    task: str
    method: str
    label: str
    student: str
    teachers: list[str]
    teacher_seeds: list[int] = Field(default_factory=list, description="that `teachers` were fine-tuned with")
    seed: int
    data_fingerprint: str = Field(description="of the examples scored")
    score: float | None = Field(
        None, description="none of a failed run, and where the labels are hidden; NaN: undefined for its predictions"
    )
    metrics: dict[str, float] = Field(default_factory=dict, description="NaN: undefined for these predictions")
    error: str | None = None
    parts: dict[str, Any] = Field(description="what the key is a hash of")
    losses: list[LossPoint] = Field(default_factory=list)
    notes: dict[str, Any] = Field(default_factory=dict, description="what the method chose, such as a drawn mapping")
    selection: SelectionRecord | None = Field(None, description="none: nothing was chosen, and nothing held out for it")
    tuning: TuningSummary | None = Field(None, description="none: the options are those of the suite")
    cost: Cost
    size: ModelSize
    provenance: Provenance


class TeacherRecord(FrozenModel):
    """A teacher, fine-tuned on one task and scored as its students are."""

    schema_version: int = SCHEMA_VERSION
    key: str
    name: str = Field(description="the row of the board; teachers of several seeds share it")
    model: str = Field(description="hub id, folder, or `from scratch`")
    task: str
    seed: int | None = Field(None, description="that it was fine-tuned with; none: a record of an older version")
    data_fingerprint: str
    score: float | None = Field(description="none where the labels are hidden")
    metrics: dict[str, float]
    floor: float | None = None
    parts: dict[str, Any]
    losses: list[LossPoint] = Field(default_factory=list)
    cost: Cost
    size: ModelSize
    provenance: Provenance


class GeneralRecord(FrozenModel):
    """A student that was distilled on unlabelled text, before any task."""

    schema_version: int = SCHEMA_VERSION
    key: str
    method: str
    label: str = Field(description="the first row of the board that asked for it")
    student: str
    seed: int
    parts: dict[str, Any] = Field(description="what the key is a hash of")
    losses: list[LossPoint] = Field(default_factory=list)
    notes: dict[str, Any] = Field(default_factory=dict)
    cost: Cost
    size: ModelSize
    provenance: Provenance


class PlannedGeneral(FrozenModel):
    """A stage on unlabelled text that runs of the suite begin with."""

    key: str
    labels: list[str] = Field(description="the rows of the board that begin with it")
    student: str
    data: str = Field(description="hub id, folder or files, as the suite names them")
    steps: int


class DataReport(FrozenModel):
    """What was found in a task's examples, of which none is an error."""

    examples: dict[str, int] = Field(description="validation split -> its examples")
    overlap: dict[str, int] = Field(description="validation split -> examples whose texts a training example has, too")
    repaired: dict[str, int] = Field(default_factory=dict, description="split -> answers whose start was corrected")


class PlannedTask(FrozenModel):
    """A column of the board."""

    name: str
    kind: str
    score: str = Field(description="name of the metric that is the score")
    synthetic: bool
    labels: list[str] = Field(default_factory=list, description="names of the classes")
    percent: bool = Field(False, description="scored from 0 to 100; else a fraction")
    diagnostic: bool = Field(False, description="no part of the average and the rank")
    higher_is_better: bool = True
    data: DataReport | None = Field(None, description="none: planned before it was recorded")


class PlannedRun(FrozenModel):
    """A run that the suite asks for."""

    key: str
    task: str
    label: str
    method: str
    student: str
    seed: int
    teachers: list[str]
    teacher_seeds: list[int] = Field(default_factory=list, description="that `teachers` are fine-tuned with")


class PlannedRow(FrozenModel):
    """What a label stands for. Rows of one `entry` are the cells of a grid."""

    method: str
    entry: int = Field(description="place in the suite's `methods`")
    plain: bool = Field(description="the entry sets no option, stage or teachers of its own")
    options: dict[str, Any] = Field(description="every option of the method with its value")
    stages: dict[str, dict[str, Any]] = Field(default_factory=dict, description="lengths and rates that are set")
    teachers: list[str]
    general: bool = Field(False, description="it begins with a stage on unlabelled text")
    per_task: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="task -> its options and stages, where they differ from the above"
    )
    protocol: str = Field("", description="text stage, data, stages and length, in a few words; empty: it has no run")

    @property
    def settings(self) -> dict[str, Any]:
        """All in which rows of one method can differ; no option of a method is named like one of the other four."""
        apart = {"stages": self.stages, "teachers": self.teachers, "general": self.general, "per_task": self.per_task}
        return {**self.options, **apart}


class EncoderShape(FrozenModel):
    """The numbers of an encoder. `init` is what a student begins with."""

    layers: int
    hidden: int
    heads: int
    ffn: int
    init: str = ""


class NotApplicable(FrozenModel):
    """A cell that cannot be, with its reason."""

    task: str
    label: str
    student: str
    reason: str


class PublishedFigure(FrozenModel):
    """What a source prints for a row of the board on one task: never ranked, and in no average."""

    task: str
    label: str
    student: str = Field(description="empty for a teacher")
    values: list[float] = Field(description="as printed, from 0 to 100")
    metrics: list[str] = Field(description="what each of them is")
    model: str = Field(description="as printed")
    teacher: str | None = Field(description="of the printed model; none for a teacher")
    source: str
    title: str
    url: str
    split: str
    where: str = Field(description="place in the source, and split")


class PlannedStudy(FrozenModel):
    """The tuning of a row of the board on a task and a student."""

    key: str | None = Field(description="none: the row has nothing to tune there")
    task: str
    label: str
    student: str


class PlannedTuning(FrozenModel):
    """The budget that each row has."""

    trials: int
    seed: int
    on: Literal["train", "validation"] = Field(description="the split whose examples the trials are scored on")
    studies: list[PlannedStudy]


TeacherKeys = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
"""Keys of a teacher on one task. Plans of older versions have one key, which is not in a list."""


class PlanFile(FrozenModel):
    """`plan.json`: what the suite asked for, so that a missing run is seen."""

    schema_version: int = SCHEMA_VERSION
    suite: str
    command: str = Field(description="the command that produced it, as a user would type it")
    tasks: list[PlannedTask]
    students: list[str]
    labels: list[str] = Field(description="rows of the board, in the suite's order")
    teachers: dict[str, dict[str, TeacherKeys]] = Field(
        description="teacher -> task -> keys: one that all runs share, or one per entry of `seeds`, in their order"
    )
    seeds: list[int]
    runs: list[PlannedRun]
    not_applicable: list[NotApplicable]
    limits: dict[str, int] = Field(default_factory=dict, description="not empty: a rehearsal")
    citations: dict[str, str] = Field(default_factory=dict, description="method -> BibTeX")
    generals: list[PlannedGeneral] = Field(default_factory=list, description="an assistant before its students")
    latency: LatencySpec | None = Field(None, description="how latency is to be measured; none: not at all")
    published: list[PublishedFigure] = Field(
        default_factory=list, description="figures of others to stand beside the board's, as they were at that time"
    )
    rows: dict[str, PlannedRow] = Field(default_factory=dict, description="label -> what it stands for")
    shapes: dict[str, EncoderShape] = Field(
        default_factory=dict, description="of students and teachers, as far as known"
    )
    tuning: PlannedTuning | None = None

    def teacher_keys(self, name: str, task: str) -> dict[int | None, str]:
        """Seed of the runs that learn from a teacher -> the teacher's key; None: all runs learn from it."""
        keys = self.teachers.get(name, {}).get(task, [])
        seeds = self.seeds if len(keys) > 1 else [None] * len(keys)
        return dict(zip(seeds, keys, strict=True))

    def teacher_key(self, name: str, task: str, seed: int | None) -> str | None:
        """Of the teacher that runs of that seed learn from; None: there is none on that task."""
        keys = self.teacher_keys(name, task)
        return keys.get(seed, keys.get(None))
