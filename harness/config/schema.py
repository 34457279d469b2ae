"""The suite file as pydantic models: every key, its default and its meaning."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from harness.api.names import Name
from harness.api.stage_settings import Schedule, StageData

LABEL = r"^[A-Za-z0-9][A-Za-z0-9._+=,-]*$"
DEVICE = r"^(cpu|mps|cuda(:[0-9]+)?)$"
MAX_LABEL_LENGTH = 120

Label = Annotated[str, StringConstraints(pattern=LABEL, max_length=MAX_LABEL_LENGTH)]
"""The name of a row on the board: a `Name` that may also say ``option=value,...``."""

MOST_LAYERS, LARGEST_SIZE, LARGEST_NUMBER = 1000, 10**6, 10**9
"""Numbers beyond these are refused: no machine could do what they ask for, and some overflow."""

Positive = Annotated[int, Field(gt=0, le=LARGEST_NUMBER)]
Layers = Annotated[int, Field(gt=0, le=MOST_LAYERS)]
Size = Annotated[int, Field(gt=0, le=LARGEST_SIZE)]
Tokens = Annotated[int, Field(ge=8, le=LARGEST_SIZE)]
Epochs = Annotated[float, Field(gt=0, le=LARGEST_SIZE)]
Gigabytes = Annotated[float, Field(gt=0, le=LARGEST_NUMBER)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Rate = Annotated[float, Field(gt=0, le=1)]
WarmupRatio = Annotated[float, Field(ge=0, lt=1)]
Threads = Positive | Literal["all"]

Batching = Literal["random", "grouped", "bucketed"]
"""How batches are made: see `harness.tasks.batching`."""


class Strict(BaseModel):
    """Refuses unknown keys and values of another type, and does not change once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Architecture(Strict):
    """A BERT encoder made from nothing."""

    layers: Layers
    hidden: Size
    heads: Size
    ffn: Size
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="in training; its students' too")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(
                f"hidden {self.hidden} cannot be split among {self.heads} heads: it is no multiple of them"
            )
        return self


class TeacherSpec(Strict):
    """A model to fine-tune on every task before it teaches. Exactly one of `model` and `architecture`."""

    model: str | None = Field(None, description="hub id or local folder of a pretrained encoder")
    architecture: Architecture | None = Field(None, description="train one from scratch instead")
    epochs: Epochs = 3.0
    lr: Rate = 2e-5
    batch_size: Positive | None = Field(None, description="default: training.batch_size")
    max_length: Tokens | None = Field(None, description="default: training.max_length")
    seed: Seed = 1
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = Field(
        None, description="fine-tune one teacher per seed of the suite, in the same order; default: one, of `seed`"
    )
    floor: dict[str, float] = Field(default_factory=dict, description="task -> the score it must reach")

    @property
    def per_seed(self) -> list[TeacherSpec]:
        """One specification per teacher to fine-tune, each with the seed that it is fine-tuned with."""
        return [self.model_copy(update={"seed": seed, "seeds": None}) for seed in self.seeds or [self.seed]]

    @model_validator(mode="after")
    def _check_seeds(self) -> Self:
        if self.seeds is not None and "seed" in self.model_fields_set:
            raise ValueError("a teacher has `seed` (one for all runs) or `seeds` (one per run), found both")
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.model is None) == (self.architecture is None):
            found = "neither" if self.model is None else "both"
            raise ValueError(f"a teacher has exactly one of `model` and `architecture`, found {found}")
        return self


class StudentSpec(Strict):
    """A student's architecture and its initial weights. What is not given is as in the first teacher."""

    layers: Layers
    hidden: Size | None = None
    heads: Size | None = None
    ffn: Size | None = None
    init: str | list[Positive] = Field(
        "random",
        description="uniform | first | last | random | explicit teacher layers, counted from 1 | hub id or folder",
    )
    init_from: Literal["pretrained", "teacher"] = Field(
        "pretrained", description="copy layers from the teacher's pretrained or from its fine-tuned weights"
    )


class MethodSpec(Strict):
    """One entry of `methods`: the reserved keys apart from the method's own options."""

    name: str
    label: Label | None = Field(None, description="name on the board; default: the method's name")
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict, min_length=1, description="option -> values; one row for each cell"
    )
    stages: dict[str, StageOverride] = Field(
        default_factory=dict, description="lengths, learning rates and data of its stages"
    )
    per_task: dict[str, MethodOnTask] = Field(
        default_factory=dict, description="task -> options and stages that differ from the entry's on it"
    )
    students: Annotated[list[str], Field(min_length=1)] | None = Field(None, description="default: all")
    teachers: list[str] | None = Field(None, description="default: as many as the method takes, in order")
    general: bool | None = Field(
        None, description="begin with its stage on unlabelled text; default: if the suite and the method have one"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="the method's own Config")


class MethodOnTask(Strict):
    """What differs in an entry of `methods` on one task: `stages` beside the method's own options."""

    stages: dict[str, StageOverride] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)


class StageOverride(Strict):
    """A stage's length, learning rate and data, in place of what the method or the suite's `training` say."""

    epochs: Epochs | None = None
    steps: Positive | None = None
    lr: Rate | None = Field(None, description="peak learning rate")
    schedule: Schedule | None = Field(None, description="of the learning rate after warm-up")
    warmup_ratio: WarmupRatio | None = Field(None, description="share of the stage's steps")
    data: StageData | None = Field(None, description="the task's own training data, or the method's augmented data")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("a stage's length is given by `epochs` or by `steps`, found both")
        return self

    def merged(self, other: StageOverride) -> StageOverride:
        """This override with what `other` sets put in; a length replaces the other kind of length."""
        given = other.model_dump(exclude_none=True)
        own = self.model_dump(exclude={"epochs", "steps"} if {"epochs", "steps"} & given.keys() else None)
        return StageOverride(**{**own, **given})


class Limit(Strict):
    """The first examples of a seeded shuffle only. A limited run is a rehearsal."""

    train: Positive | None = None
    validation: Positive | None = None


class TaskTraining(Strict):
    """Settings of `training` that hold on one task. What is not given is as on the other tasks."""

    epochs: Annotated[float, Field(gt=0)] | None = None
    batch_size: Positive | None = Field(None, description="also in place of a token_budget of all tasks")
    token_budget: Positive | None = None
    lr: Rate | None = None
    max_length: Annotated[int, Field(ge=8)] | None = None
    micro_batch_size: Positive | None = None
    schedule: Schedule | None = None
    warmup_ratio: WarmupRatio | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    max_grad_norm: Annotated[float, Field(gt=0)] | None = Field(None, description="null: no clipping on this task")

    @model_validator(mode="after")
    def _check(self) -> Self:
        required = {"epochs", "lr", "max_length", "schedule", "warmup_ratio", "weight_decay"}
        for name in sorted(required & self.model_fields_set):
            if getattr(self, name) is None:
                raise ValueError(f"{name} is null: give it a value, or leave it out to take that of all tasks")
        return self

    @property
    def given(self) -> dict[str, Any]:
        """What the task sets, an explicit null among it."""
        given = self.model_dump(include=self.model_fields_set)
        return {"token_budget": None, **given} if given.get("batch_size") is not None else given


class TrainingSpec(Strict):
    """How every run of the suite trains."""

    epochs: Epochs = 3.0
    batch_size: Positive = 32
    token_budget: Positive | None = Field(
        None, description="most tokens of a step, padding counted: in place of batch_size, as many examples as fit"
    )
    batching: Batching = Field(
        "grouped",
        description="random: random batches, padded to their longest row; grouped: the same batches, computed in groups"
        " of similar length; bucketed: batches of similar length, which changes what is trained on",
    )
    lr: Rate = 5e-5
    max_length: Tokens = 128
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="of forward and backward passes")
    tf32: bool = Field(False, description="on a GPU: float32 products of training may take TF32")
    micro_batch_size: Positive | None = Field(
        None, description="examples of one forward and backward pass; default: the batch, or what memory suffices for"
    )
    max_memory_gb: Gigabytes | None = Field(
        None, description="what the runs of a cohort may take together; default: what there is, less a margin"
    )
    limit: Limit = Limit()
    schedule: Schedule = Field("linear", description="of the learning rate after warm-up, in each stage")
    warmup_ratio: WarmupRatio = Field(0.1, description="share of a stage's steps in which the learning rate rises")
    weight_decay: Annotated[float, Field(ge=0, le=LARGEST_SIZE)] = 0.01
    max_grad_norm: Annotated[float, Field(gt=0)] | None = Field(1.0, description="largest norm of the gradient")
    checkpoint_every: Positive | None = Field(2000, description="steps; null: only when interrupted")
    log_every: Positive = Field(50, description="steps")
    data_seed: Seed | None = Field(None, description="order of the examples; default: the run's seed")
    per_task: dict[str, TaskTraining] = Field(
        default_factory=dict, description="task -> settings that differ from the above on it"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        every: dict[str, TrainingSpec] = {"": self, **{f"on {task}: ": self.on(task) for task in self.per_task}}
        for where, settings in every.items():
            budget, longest = settings.token_budget, settings.max_length
            if budget is not None and budget < longest:
                raise ValueError(
                    f"{where}token_budget is {budget}, less than max_length, {longest}: no room for one example"
                )
        return self

    def on(self, task: str) -> TrainingSpec:
        """The settings that hold on that task."""
        own = self.per_task[task].given if task in self.per_task else {}
        return self.model_copy(update={**own, "per_task": {}})

    @property
    def max_batch_size(self) -> int:
        """Examples of a step in which all are as long as they may be."""
        return self.batch_size if self.token_budget is None else -(-self.token_budget // self.max_length)


class GeneralSpec(Strict):
    """The stage on unlabelled text that some methods begin with: once for each student, before all tasks."""

    data: str = Field(description="hub id, local folder in the hub's layout, or .txt file (one text a line); * allowed")
    name: str | None = Field(None, description="the data set's configuration")
    split: str = "train"
    column: str = Field("text", description="the column that holds the texts")
    steps: Positive
    batch_size: Positive = 32
    lr: Rate = 1e-4
    schedule: Schedule | None = Field(None, description="of the learning rate; default: training.schedule")
    warmup_ratio: WarmupRatio | None = Field(None, description="default: training.warmup_ratio")
    max_length: Tokens = 128
    seed: Seed = 1


class LatencySpec(Strict):
    """The shapes and backends of the latency comparison, and how long it may take."""

    batch_sizes: Annotated[list[Positive], Field(min_length=1)] = [1, 8, 32]
    lengths: Annotated[list[Positive | Literal["task"]], Field(min_length=1)] = Field(
        [32, 128], description="tokens of an example; `task`: as many as the task's validation examples have"
    )
    backends: Annotated[list[str], Field(min_length=1)] = Field(
        ["eager", "onnx"], description="what runs the models: eager, compile, onnx, onnx-int8, and what plugins bring"
    )
    rounds: Positive = Field(50, description="each model is timed once a round at every shape; below 6: no intervals")
    warmup: Positive = Field(50, description="calls at most, of a model at a shape, for its median to settle")
    max_seconds: Annotated[float, Field(gt=0)] = Field(
        600.0, description="of warm-up and rounds, all backends and threads together; the rounds end when it is over"
    )
    threads: Threads | Annotated[list[Threads], Field(min_length=1)] | None = Field(
        None, description="of the processor; default: 1 and all cores, on an accelerator as many as torch takes"
    )
    memory: bool = Field(True, description="measure the peak memory of each model, in a process of its own")

    @property
    def fixed_lengths(self) -> list[int]:
        """Those that are numbers, sorted."""
        return sorted({length for length in self.lengths if length != "task"})

    @property
    def includes_task_lengths(self) -> bool:
        """Whether the task's own lengths are asked for."""
        return "task" in self.lengths


class CheckpointsSpec(Strict):
    """What can be set where checkpoints are measured that belong to no suite."""

    latency: LatencySpec = LatencySpec()
    device: Annotated[str, StringConstraints(pattern=DEVICE)] | None = None
    trust_remote_code: bool = False


class SelectionSpec(Strict):
    """On which examples a run's best epoch, or the options of methods, are chosen. A word alone is `on`."""

    on: Literal["train", "validation"] = Field(
        "train", description="a part of the training split that nothing is trained on, or what the board reports"
    )
    share: Annotated[float, Field(gt=0, le=0.2)] = Field(
        0.1, description="of the full training split; at least 100 examples, and never more than a fifth"
    )
    seed: Seed = Field(1, description="of the examples that are held out")
    epoch: Literal["best", "last"] = Field("best", description="of its last stage, whose weights a run keeps")

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        return {"on": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        idle = self.model_fields_set & {"share", "seed"}
        if self.on == "validation" and idle:
            raise ValueError(f"nothing is held out with `on: validation`: take out {' and '.join(sorted(idle))}")
        return self


class TeacherCacheSpec(Strict):
    """How much disk the kept teacher tensors may take; 0 turns them off."""

    max_gb: Annotated[float, Field(ge=0, le=LARGEST_NUMBER)] = 50.0


class TuningSpec(Strict):
    """How the options of methods are chosen, on examples that are held out of the training split."""

    trials: Annotated[int, Field(ge=2)] = Field(
        description="of each row of the board, task and student; the first is with the defaults"
    )
    seed: Seed = Field(1, description="of the trials' runs, and of what is proposed")
    lr: list[Rate] | Literal["auto"] | None = Field(
        "auto", description="least and greatest peak rate; auto: a quarter to four times training.lr; null: not tuned"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.lr, list) and (len(self.lr) != 2 or self.lr[0] >= self.lr[1]):
            raise ValueError(f"lr has two rates, the least and the greatest; found {self.lr}")
        return self

    def lr_range(self, default_lr: float) -> tuple[float, float] | None:
        """Between which the learning rate is tuned, of a suite whose own is `usual`; None: it is not."""
        if self.lr == "auto":
            return default_lr / 4, min(1.0, default_lr * 4)
        return (self.lr[0], self.lr[1]) if self.lr is not None else None


class SuiteSpec(Strict):
    """A whole suite file."""

    name: Name
    tasks: Annotated[list[str], Field(min_length=1)]
    teachers: dict[Name, TeacherSpec] = Field(default_factory=dict)
    students: Annotated[dict[Name, StudentSpec], Field(min_length=1)]
    methods: Annotated[list[MethodSpec], Field(min_length=1)]
    seeds: Annotated[list[Seed], Field(min_length=1)] = [1, 2, 3]
    sources: dict[str, str] = Field(default_factory=dict, description="source -> hub id or local folder")
    training: TrainingSpec = TrainingSpec()
    general: GeneralSpec | None = None
    latency: LatencySpec | None = None
    selection: SelectionSpec | None = Field(None, description="default: nothing is chosen, and nothing held out")
    tuning: TuningSpec | None = Field(None, description="default: options are the suite's, or else the methods' own")
    teacher_cache: TeacherCacheSpec = TeacherCacheSpec()
    plugins: list[str] = Field(default_factory=list, description=".py files or folders, relative to the suite")
    device: Annotated[str, StringConstraints(pattern=DEVICE)] | None = Field(
        None, description="cpu, cuda, cuda:1, mps; default: what is there"
    )
    published: bool | list[str] = Field(
        True, description="show figures of others beside ours: all that match, none, or those of the sources named"
    )
    trust_remote_code: bool = False

    @property
    def effective_selection(self) -> SelectionSpec | None:
        """`selection`, or what it is where options are tuned and it is not said; None: nothing is chosen."""
        if self.selection is None and self.tuning is not None:
            return SelectionSpec(epoch="last")
        return self.selection


MethodOnTask.model_rebuild()
MethodSpec.model_rebuild()

RESERVED = frozenset(MethodSpec.model_fields) - {"name", "options"}
"""Keys of an entry of `methods` that are not the method's own."""
