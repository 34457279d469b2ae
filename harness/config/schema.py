"""Pydantic models of the suite file: all keys with types, defaults and descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from harness.api.names import Name
from harness.api.stage_settings import Schedule, StageData
from harness.config.strict_model import Strict
from harness.config.task_schema import TaskSpec

LABEL = r"^[A-Za-z0-9][A-Za-z0-9._+=,-]*$"
DEVICE = r"^(cpu|mps|cuda(:[0-9]+)?)$"
MAX_LABEL_LENGTH = 120

Label = Annotated[str, StringConstraints(pattern=LABEL, max_length=MAX_LABEL_LENGTH)]
"""Name of a row on the board: a `Name` that may also contain ``option=value,...``."""

MOST_LAYERS, LARGEST_SIZE, LARGEST_NUMBER = 1000, 10**6, 10**9
"""Upper bounds of settings: larger values cannot be run, and some overflow."""

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


def _class_name(value: Any) -> Any:
    """Return a number or boolean as text, as YAML reads the names of classes such as 1 or true."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


LabelNames = Annotated[list[Annotated[str, BeforeValidator(_class_name)]], Field(min_length=1)]

FINE_TUNING = ("epochs", "lr", "batch_size", "seed", "seeds")
"""Keys of a teacher that are settings of its fine-tuning."""

OF_A_ROW = ("row", "student", "seed")
"""Keys of a teacher that is a row of the suite."""

Batching = Literal["random", "grouped", "bucketed"]
"""How examples are grouped into batches; see `harness.tasks.batching`."""


class Architecture(Strict):
    """A randomly initialized BERT encoder."""

    layers: Layers = Field(description="number of Transformer layers")
    hidden: Size = Field(description="hidden size, a multiple of `heads`")
    heads: Size = Field(description="attention heads of a layer")
    ffn: Size = Field(description="width of the feed-forward part of a layer")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="dropout in training, also of its students")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"hidden ({self.hidden}) must be a multiple of heads, found {self.heads} heads")
        return self


class TeacherSpec(Strict):
    """A teacher: fine-tuned on every task, or before, or a student of the suite (a teacher assistant).

    Exactly one of `model`, `architecture` and `row` is set.
    """

    not_in_key: ClassVar[Mapping[str, str]] = {
        "model": "the fingerprint of the checkpoint is part of the key",
        "architecture": "part of the key as `model`",
        "row": "the key of a teacher that is a row is the key of its run",
        "student": "the key of a teacher that is a row is the key of its run",
        "epochs": "part of the teacher's training settings",
        "lr": "part of the teacher's training settings",
        "batch_size": "part of the teacher's training settings",
        "max_length": "part of the key with the data",
        "seeds": "each teacher's own `seed` is part of its key",
        "floor": "checked against the score; does not change it",
        "finetune": "a teacher that is not fine-tuned has a key of other parts",
        "labels": "part of the key as the order of the checkpoint's classes",
    }

    model: str | None = Field(
        None, description="hub id or local folder of a pretrained encoder, or of a fine-tuned model (`finetune: false`)"
    )
    architecture: Architecture | None = Field(None, description="an encoder to train from scratch")
    row: Label | None = Field(
        None, description="label of a row of the suite: its trained student is this teacher (a teacher assistant)"
    )
    student: str | None = Field(None, description="with `row`: which student of the row; default: its only one")
    epochs: Epochs = Field(3.0, description="length of its fine-tuning")
    lr: Rate = Field(2e-5, description="peak learning rate of its fine-tuning")
    batch_size: Positive | None = Field(None, description="default: training.batch_size")
    max_length: Tokens | None = Field(None, description="default: training.max_length")
    seed: Seed = Field(
        1, description="seed of its head, dropout and order of examples; with `row`: the run to learn from"
    )
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = Field(
        None, description="fine-tune one teacher per seed of the suite, in the same order; default: one, with `seed`"
    )
    floor: dict[str, float] = Field(
        default_factory=dict, description="task -> minimum score (maximum, if less is better)"
    )
    finetune: bool = Field(
        True, description="false: `model` is fine-tuned already; it is scored and used with its own head, not trained"
    )
    labels: LabelNames | dict[str, LabelNames] | None = Field(
        None,
        description="with `finetune: false`: names of the task's classes in the order of the checkpoint's outputs, or"
        " task -> names; default: classes match by the names in config.json",
    )

    def labels_on(self, task: str) -> list[str] | None:
        """The stated class names on a task, in the order of the checkpoint's outputs; None: not stated."""
        return self.labels.get(task) if isinstance(self.labels, dict) else self.labels

    @property
    def is_trained(self) -> bool:
        """Whether it is fine-tuned as a teacher: neither fine-tuned before nor a row of the suite."""
        return self.finetune and self.row is None

    @property
    def per_seed(self) -> list[TeacherSpec]:
        """One specification per teacher to fine-tune, each with its own `seed`."""
        return [self.model_copy(update={"seed": seed, "seeds": None}) for seed in self.seeds or [self.seed]]

    @model_validator(mode="after")
    def _check_seeds(self) -> Self:
        if self.seeds is not None and "seed" in self.model_fields_set:
            raise ValueError("give `seed` (one teacher for all runs) or `seeds` (one teacher per run), found both")
        return self

    @model_validator(mode="after")
    def _check_finetune(self) -> Self:
        if self.finetune:
            if self.labels is not None:
                raise ValueError("`labels` states the classes of a checkpoint with `finetune: false`; remove `labels`")
            return self
        if self.architecture is not None:
            raise ValueError("`finetune: false` needs a fine-tuned `model`; an architecture has random weights")
        if unused := [name for name in FINE_TUNING if name in self.model_fields_set]:
            raise ValueError(
                f"with `finetune: false` the teacher is not trained, so {', '.join(unused)} would have no effect;"
                f" remove {'it' if len(unused) == 1 else 'them'}, or remove `finetune: false`"
            )
        return self

    @model_validator(mode="after")
    def _check_row(self) -> Self:
        if self.row is None:
            if self.student is not None:
                raise ValueError("`student` names a student of the row in `row`; add `row`, or remove `student`")
            return self
        if unused := [name for name in self.model_fields_set if name not in OF_A_ROW]:
            names = ", ".join(sorted(unused))
            raise ValueError(
                f"a teacher that is a row of the suite has the settings of the row, so {names} cannot be set; give"
                " only `row`, `student` and `seed`"
            )
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        origins = [name for name in ("model", "architecture", "row") if getattr(self, name) is not None]
        if len(origins) != 1:
            raise ValueError(
                f"give exactly one of `model`, `architecture` and `row`, found {' and '.join(origins) or 'none'}"
            )
        return self


class StudentSpec(Strict):
    """A student: architecture and initial weights. Sizes that are not set are those of the first teacher."""

    not_in_key: ClassVar[Mapping[str, str]] = {
        "layers": "part of the key with the resolved shape",
        "hidden": "part of the key with the resolved shape",
        "heads": "part of the key with the resolved shape",
        "ffn": "part of the key with the resolved shape",
        "init": "the layers to copy, or the fingerprint of the checkpoint, are part of the key",
        "init_from": "the key or fingerprint of the model that layers are copied from is part of the key",
    }

    layers: Layers = Field(description="number of Transformer layers")
    hidden: Size | None = Field(None, description="hidden size; default: that of the first teacher")
    heads: Size | None = Field(None, description="attention heads of a layer; default: as the first teacher")
    ffn: Size | None = Field(None, description="feed-forward width of a layer; default: as the first teacher")
    init: str | list[Positive] = Field(
        "random",
        description="uniform | first | last | random | explicit teacher layers, counted from 1 | hub id or folder",
    )
    init_from: Literal["pretrained", "teacher"] = Field(
        "pretrained", description="copy layers from the pretrained or the fine-tuned weights of the teacher"
    )


class MethodSpec(Strict):
    """One entry of `methods`: the reserved keys, and the options of the method."""

    not_in_key: ClassVar[Mapping[str, str]] = {
        "name": "part of the key with the method and its version",
        "label": "a name on the board",
        "grid": "each combination is a row with options of its own",
        "stages": "part of the key as resolved for the task",
        "per_task": "part of the key as resolved for the task",
        "students": "selects rows",
        "teachers": "the keys of the teachers are part of the key",
        "general": "the key of the text stage is part of the key",
        "options": "part of the key as the validated Config",
    }

    name: str
    label: Label | None = Field(None, description="name on the board; default: the method's name")
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict, min_length=1, description="option -> values; one row per combination"
    )
    stages: dict[str, StageOverride] = Field(
        default_factory=dict, description="stage -> length, learning rate and data"
    )
    per_task: dict[str, MethodOnTask] = Field(
        default_factory=dict, description="task -> options and stages that differ on this task"
    )
    students: Annotated[list[str], Field(min_length=1)] | None = Field(None, description="default: all")
    teachers: list[str] | None = Field(
        None, description="default: as many as the method takes, in the order of the suite, without those that are rows"
    )
    general: bool | None = Field(
        None, description="start with the text stage of the method; default: if the suite and the method have one"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="options of the method: the fields of its Config")


class MethodOnTask(Strict):
    """Options and stages of an entry of `methods` that differ on one task."""

    stages: dict[str, StageOverride] = Field(
        default_factory=dict, description="stage -> length, learning rate and data"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="options of the method: the fields of its Config")


class StageOverride(Strict):
    """Length, learning rate and data of a stage. They override the method and the suite's `training`."""

    epochs: Epochs | None = Field(None, description="length in epochs of the training data; excludes `steps`")
    steps: Positive | None = Field(None, description="length in optimizer steps; excludes `epochs`")
    lr: Rate | None = Field(None, description="peak learning rate")
    schedule: Schedule | None = Field(None, description="learning-rate schedule after warm-up")
    warmup_ratio: WarmupRatio | None = Field(None, description="warm-up steps as a share of the stage's steps")
    data: StageData | None = Field(None, description="the task's own training data, or the method's augmented data")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give the length of a stage as `epochs` or as `steps`, found both")
        return self

    def merged(self, other: StageOverride) -> StageOverride:
        """Return this override updated with the fields that `other` sets. `steps` replaces `epochs` and vice versa."""
        updates = other.model_dump(exclude_none=True)
        fields = self.model_dump(exclude={"epochs", "steps"} if {"epochs", "steps"} & updates.keys() else None)
        return StageOverride(**{**fields, **updates})


class Limit(Strict):
    """Maximum number of examples, taken from a seeded shuffle. The board marks limited runs as a rehearsal."""

    train: Positive | None = Field(None, description="training examples; default: all")
    validation: Positive | None = Field(None, description="scored examples; default: all")


class TaskTraining(Strict):
    """Settings of `training` that differ on one task."""

    epochs: Annotated[float, Field(gt=0)] | None = Field(None, description="length of training")
    batch_size: Positive | None = Field(None, description="also replaces the token_budget of `training`")
    token_budget: Positive | None = Field(None, description="tokens of a step at most, padding included")
    lr: Rate | None = Field(None, description="peak learning rate")
    max_length: Annotated[int, Field(ge=8)] | None = Field(None, description="truncation length in tokens")
    micro_batch_size: Positive | None = Field(None, description="examples per forward and backward pass")
    schedule: Schedule | None = Field(None, description="learning-rate schedule after warm-up")
    warmup_ratio: WarmupRatio | None = Field(None, description="warm-up steps as a share of a stage's steps")
    weight_decay: Annotated[float, Field(ge=0)] | None = Field(None, description="weight decay of AdamW")
    max_grad_norm: Annotated[float, Field(gt=0)] | None = Field(
        None, description="null: no gradient clipping on this task"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        required = {"epochs", "lr", "max_length", "schedule", "warmup_ratio", "weight_decay"}
        for name in sorted(required & self.model_fields_set):
            if getattr(self, name) is None:
                raise ValueError(f"{name} is null: give a value, or remove the key to use the value of `training`")
        return self

    @property
    def overrides(self) -> dict[str, Any]:
        """The fields that the task sets, explicit nulls included."""
        overrides = self.model_dump(include=self.model_fields_set)
        return {"token_budget": None, **overrides} if overrides.get("batch_size") is not None else overrides


class TrainingSpec(Strict):
    """Training settings of all runs of the suite."""

    not_in_key: ClassVar[Mapping[str, str]] = {
        "max_length": "part of the key with the data",
        "precision": "part of the key under `numeric`",
        "tf32": "part of the key under `numeric`, on a GPU",
        "max_memory_gb": "how runs share memory does not change a result",
        "limit": "the fingerprints of the examples are part of the key",
        "checkpoint_every": "when checkpoints are saved does not change a result",
        "log_every": "when losses are logged does not change a result",
        "data_seed": "part of the key, resolved for each run",
        "per_task": "part of the key as resolved for the task",
    }

    epochs: Epochs = Field(3.0, description="length of a run, the same for every method; its stages share the steps")
    batch_size: Positive = Field(32, description="examples of a step")
    token_budget: Positive | None = Field(
        None, description="tokens of a step at most, padding included; replaces batch_size"
    )
    batching: Batching = Field(
        "random",
        description="random: random batches, padded to their longest row; grouped: the same batches, computed in groups"
        " of similar length; bucketed: batches of similar length, so other batches than random ones",
    )
    lr: Rate = Field(5e-5, description="peak learning rate")
    max_length: Tokens = Field(128, description="truncation length in tokens")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="autocast dtype of forward and backward passes"
    )
    tf32: bool = Field(False, description="allow TF32 matrix products in training, on a GPU")
    micro_batch_size: Positive | None = Field(
        None,
        description="examples per forward and backward pass (gradient accumulation); default: the batch, or what fits",
    )
    max_memory_gb: Gigabytes | None = Field(
        None, description="memory limit of a cohort; default: the free memory, less a margin"
    )
    limit: Limit = Field(Limit(), description="part of the data only: a rehearsal")
    schedule: Schedule = Field("linear", description="learning-rate schedule after warm-up, in each stage")
    warmup_ratio: WarmupRatio = Field(0.1, description="warm-up steps as a share of a stage's steps")
    weight_decay: Annotated[float, Field(ge=0, le=LARGEST_SIZE)] = Field(0.01, description="weight decay of AdamW")
    max_grad_norm: Annotated[float, Field(gt=0)] | None = Field(1.0, description="gradient clipping; null: off")
    checkpoint_every: Positive | None = Field(2000, description="steps between checkpoints; null: only on interruption")
    log_every: Positive | None = Field(
        None,
        description="steps between points of the loss curve; default: 50, or fewer in a run of less than 2,000 steps,"
        " so that its curve has about 40 points or more",
    )
    data_seed: Seed | None = Field(None, description="seed of the order of examples; default: the run's seed")
    per_task: dict[str, TaskTraining] = Field(
        default_factory=dict, description="task -> settings that differ on this task"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        by_task: dict[str, TrainingSpec] = {"": self, **{f"on {task}: ": self.on(task) for task in self.per_task}}
        for where, settings in by_task.items():
            budget, longest = settings.token_budget, settings.max_length
            if budget is not None and budget < longest:
                raise ValueError(
                    f"{where}token_budget is {budget}, less than max_length ({longest}): one example may not fit"
                )
        return self

    def on(self, task: str) -> TrainingSpec:
        """Return the settings for that task, with its `per_task` overrides applied."""
        overrides = self.per_task[task].overrides if task in self.per_task else {}
        return self.model_copy(update={**overrides, "per_task": {}})

    @property
    def max_batch_size(self) -> int:
        """Examples of a step in which every example has `max_length` tokens."""
        return self.batch_size if self.token_budget is None else -(-self.token_budget // self.max_length)


class GeneralSpec(Strict):
    """The text stage: distillation on unlabelled text, once per student, before all tasks."""

    not_in_key: ClassVar[Mapping[str, str]] = {
        "data": "the fingerprint of the text is part of the key",
        "name": "the fingerprint of the text is part of the key",
        "split": "the fingerprint of the text is part of the key",
        "column": "the fingerprint of the text is part of the key",
        "steps": "part of the stage's training settings",
        "batch_size": "part of the stage's training settings",
        "lr": "part of the stage's training settings",
        "schedule": "part of the stage's training settings",
        "warmup_ratio": "part of the stage's training settings",
        "max_length": "part of the key with the data",
    }

    data: str = Field(description="hub id, local folder in the hub's layout, or .txt file (one text a line); * allowed")
    name: str | None = Field(None, description="the data set's configuration")
    split: str = Field("train", description="split of the data set")
    column: str = Field("text", description="column of the texts")
    steps: Positive = Field(description="optimizer steps")
    batch_size: Positive = Field(32, description="texts of a step")
    lr: Rate = Field(1e-4, description="peak learning rate")
    schedule: Schedule | None = Field(None, description="learning-rate schedule; default: training.schedule")
    warmup_ratio: WarmupRatio | None = Field(None, description="default: training.warmup_ratio")
    max_length: Tokens = Field(128, description="tokens of a row; a longer text is split into several rows")
    seed: Seed = Field(1, description="seed of the order of texts, the initial weights and the masks")


class LatencySpec(Strict):
    """Shapes, backends and time limit of the latency measurement."""

    batch_sizes: Annotated[list[Positive], Field(min_length=1)] = Field([1, 8, 32], description="examples of a call")
    lengths: Annotated[list[Positive | Literal["task"]], Field(min_length=1)] = Field(
        [32, 128], description="tokens of an example; `task`: the lengths of the task's validation examples"
    )
    backends: Annotated[list[str], Field(min_length=1)] = Field(
        ["eager", "onnx"], description="eager, compile, onnx, onnx-int8, or a backend of a plugin"
    )
    rounds: Positive = Field(50, description="each round times every model once at every shape; below 6: no intervals")
    warmup: Positive = Field(
        50, description="warm-up calls of a model at a shape, at most; ends early when the median is stable"
    )
    max_seconds: Annotated[float, Field(gt=0)] = Field(
        600.0, description="time limit of warm-up and rounds, over all backends and thread counts"
    )
    threads: Threads | Annotated[list[Threads], Field(min_length=1)] | None = Field(
        None, description="CPU threads; default: 1 and all cores; on an accelerator, the default of torch"
    )
    memory: bool = Field(True, description="measure the peak memory of each model, in a separate process")

    @property
    def fixed_lengths(self) -> list[int]:
        """The numbers in `lengths`, sorted."""
        return sorted({length for length in self.lengths if length != "task"})

    @property
    def includes_task_lengths(self) -> bool:
        """Whether `lengths` includes `task`."""
        return "task" in self.lengths


class CheckpointsSpec(Strict):
    """Settings of `harness latency` for checkpoints outside of a suite."""

    latency: LatencySpec = LatencySpec()
    device: Annotated[str, StringConstraints(pattern=DEVICE)] | None = None
    trust_remote_code: bool = False


class SelectionSpec(Strict):
    """Examples on which the best epoch or tuned options are chosen. A string is short for `{on: ...}`."""

    not_in_key: ClassVar[Mapping[str, str]] = {
        "on": "the fingerprint of the examples is part of the key",
        "share": "the fingerprint of the examples is part of the key",
        "seed": "the fingerprint of the examples is part of the key",
    }

    on: Literal["train", "validation"] = Field(
        "train", description="a held-out part of the training split, or the validation split of the board"
    )
    share: Annotated[float, Field(gt=0, le=0.2)] = Field(
        0.1, description="held-out share of the full training split; at least 100 examples, at most a fifth"
    )
    seed: Seed = Field(1, description="seed of the held-out split")
    epoch: Literal["best", "last"] = Field("best", description="which epoch of the last stage a run keeps")

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: object) -> object:
        return {"on": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        unused = self.model_fields_set & {"share", "seed"}
        if self.on == "validation" and unused:
            keys = " and ".join(sorted(unused))
            raise ValueError(f"`on: validation` holds nothing out; remove {keys}")
        return self


class TeacherCacheSpec(Strict):
    """Disk limit of cached teacher outputs; 0 turns the cache off."""

    not_in_key: ClassVar[Mapping[str, str]] = {
        "max_gb": "whether a run reads cached teacher outputs is part of its key under `numeric`"
    }

    max_gb: Annotated[float, Field(ge=0, le=LARGEST_NUMBER)] = Field(
        50.0, description="gigabytes of cached outputs on disk at most; 0: no cache"
    )


class TuningSpec(Strict):
    """Hyperparameter search over the options of methods, on a held-out part of the training split."""

    not_in_key: ClassVar[Mapping[str, str]] = {"lr": "part of the key with the search space"}

    trials: Annotated[int, Field(ge=2)] = Field(
        description="trials per row of the board, task and student; the first trial uses the defaults"
    )
    seed: Seed = Field(1, description="seed of the trials' runs and of the sampler")
    lr: list[Rate] | Literal["auto"] | None = Field(
        "auto", description="lowest and highest peak rate; auto: training.lr / 4 to training.lr * 4; null: not tuned"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.lr, list) and (len(self.lr) != 2 or self.lr[0] >= self.lr[1]):
            raise ValueError(f"lr: expected two rates, the lowest and the highest, found {self.lr}")
        return self

    def lr_range(self, default_lr: float) -> tuple[float, float] | None:
        """Return the lowest and highest learning rate to try, or None if it is not tuned.

        `default_lr` is the learning rate without tuning.
        """
        if self.lr == "auto":
            return default_lr / 4, min(1.0, default_lr * 4)
        return (self.lr[0], self.lr[1]) if self.lr is not None else None


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
        "trust_remote_code": "the fingerprint of a checkpoint includes its code",
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
    device: Annotated[str, StringConstraints(pattern=DEVICE)] | None = Field(
        None, description="cpu, cuda, cuda:1, mps; default: the best one available"
    )
    published: bool | list[str] = Field(
        True, description="published figures to show on the board: all that match, none, or those of the listed sources"
    )
    tracking: list[str] = Field(
        default_factory=list, description="what also records runs: json, tensorboard, mlflow, wandb, or one of a plugin"
    )
    trust_remote_code: bool = Field(False, description="run the Python code of checkpoints that bring their own")

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


MethodOnTask.model_rebuild()
MethodSpec.model_rebuild()

RESERVED = frozenset(MethodSpec.model_fields) - {"name", "options"}
"""Keys of an entry of `methods` that cannot be names of options."""
