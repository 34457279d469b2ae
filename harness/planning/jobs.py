"""What there is to do: teachers to fine-tune, students to train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from harness.api.method import Augmentation, Cofinetuning, General, Method, TaskInfo
from harness.api.stage_settings import StageData
from harness.api.task import Splits, Task
from harness.config.schema import StageOverride, StudentSpec, TeacherSpec, TrainingSpec
from harness.resolution.suite import Cell
from harness.storage.records import PlannedRun, TuningSummary
from harness.tasks.corpus import TextCorpus
from harness.training.schedule import stage_data


@dataclass(frozen=True)
class TokenizerRef:
    """A tokenizer, by the fingerprint of what it does to a text; `most` tokens are what its model takes, None: any
    number."""

    fingerprint: str
    tokenizer: PreTrainedTokenizerBase
    most: int | None = None

    def beside(self, reader: str) -> str:
        """Says how it reads the rows that the tokenizer with the fingerprint `reader` makes: as that one does, or along
        with it."""
        return reader if reader == self.fingerprint else f"{self.fingerprint}/{self.most}"


@dataclass(frozen=True)
class TaskData:
    """A task's examples, as limited by the suite, and their fingerprints. `selection_fingerprint` is that of the
    examples on which something is chosen, be they held out of the training split or those of the validation splits;
    None where nothing is."""

    task: Task
    splits: Splits
    train_fingerprint: str
    validation_fingerprint: str
    selection_fingerprint: str | None = None


@dataclass(frozen=True)
class Group:
    """Teachers to fine-tune together on a task: `members`, each as it would be trained by itself, and what their
    method says of the whole. `label` is the row of the board that asks for them. The first member's seed and settings
    are the group's."""

    label: str
    members: tuple[TeacherJob, ...]
    cofinetuning: Cofinetuning
    key: str


@dataclass(frozen=True)
class TeacherJob:
    """A teacher to fine-tune on a task. `checkpoint` is None for one that starts from nothing.

    `row` is its row of the board: the suite's name, with the group's label if the teacher is the `index`-th member of a
    `group`. `name` is unique among a plan's teachers of a task: where a row has one teacher per seed, it adds the seed.
    `spec` has the teacher's own seed. `place` is the position of the seed whose runs learn from it, None if all do.
    `training` are the suite's settings with the teacher's own put in, or the group's.
    """

    row: str
    name: str
    spec: TeacherSpec
    data: TaskData
    checkpoint: Path | None
    reader: TokenizerRef
    training: TrainingSpec
    parts: Mapping[str, Any]
    key: str
    group: Group | None = None
    index: int = 0
    place: int | None = None

    @property
    def alone(self) -> TeacherJob:
        """The teacher as the suite names it, trained by itself."""
        return self.group.members[self.index] if self.group else self

    @property
    def seed(self) -> int:
        return self.group.members[0].spec.seed if self.group else self.spec.seed


@dataclass(frozen=True)
class AugmentationJob:
    """Training data to make from a task's: by the masked language model in the folder `model`, with `files`. `label` is
    the row of the board that asks for them."""

    label: str
    data: TaskData
    augmentation: Augmentation
    model: Path
    files: tuple[Path, ...]
    parts: Mapping[str, Any]
    key: str


@dataclass(frozen=True)
class GeneralJob:
    """A student to distil on unlabelled text, before any task and for all of them.

    `label` and `student` are the row of the board that asks for it. `method` is bound to the text and to the shapes of
    this stage. The student begins as `spec` says: from `checkpoint`, or with layers of the model in the folder
    `source`. Its teacher is `assistant`, or the pretrained model in the folder `teacher`. `data` is where the suite has
    the text from.
    """

    label: str
    student: str
    method: Method
    general: General
    spec: StudentSpec
    checkpoint: Path | None
    source: Path | None
    teacher: Path
    assistant: GeneralJob | None
    reader: TokenizerRef
    data: str
    text: TextCorpus
    training: TrainingSpec
    steps: int
    seed: int
    parts: Mapping[str, Any]
    key: str

    @property
    def cohort(self) -> tuple[str, str, float, float]:
        """Jobs that agree in this see the same batches, and learn from the same teacher."""
        teacher = self.assistant.key if self.assistant else str(self.teacher)
        return teacher, self.reader.fingerprint, self.general.masking, self.general.smoothing

    @property
    def chain(self) -> tuple[GeneralJob, ...]:
        """The assistant, if there is one, and then the student."""
        return (self.assistant, self) if self.assistant else (self,)

    @property
    def overrides(self) -> dict[str, StageOverride]:
        return {self.general.stage.name: StageOverride(steps=self.steps)}


@dataclass(frozen=True)
class Lineage:
    """The fine-tuned models that a run depends on: its `teachers`, and the `source` of its student, which is the
    suite's first teacher. `parts` is what the run's key has of them."""

    teachers: tuple[TeacherJob, ...]
    source: TeacherJob | None
    parts: Mapping[str, Any]

    @property
    def place(self) -> int:
        """The position of the seed whose teachers these are; 0 where all runs share them."""
        return max((teacher.place or 0 for teacher in self.teachers), default=0)


@dataclass(frozen=True)
class RunJob:
    """A student to train.

    Attributes:
        checkpoint: where the student starts from, if the suite says so; otherwise it starts from `source`.
        lineage: the teachers that this run depends on.
        first: the teachers of the first seed's run, with which the row is tuned.
        training: the suite's settings on the task, with the learning rate that was tuned.
        augmented: what it learns from in place of the task's own training data, in the stages that `stage_data` names.
        general: the stage on unlabelled text that makes the student it begins with.
        kept: it reads its teachers' tensors from the cache.
        trial: which of its row's trials it is, if it is one.
        tuned: what it took over from them.
    """

    planned: PlannedRun
    cell: Cell
    method: Method
    data: TaskData
    reader: TokenizerRef
    checkpoint: Path | None
    lineage: Lineage
    first: Lineage
    data_seed: int
    parts: Mapping[str, Any]
    training: TrainingSpec
    augmented: AugmentationJob | None = None
    general: GeneralJob | None = None
    kept: bool = False
    trial: int | None = None
    tuned: TuningSummary | None = None

    @property
    def teachers(self) -> tuple[TeacherJob, ...]:
        return self.lineage.teachers

    @property
    def source(self) -> TeacherJob | None:
        """Of the weights and the family of a student that starts from no checkpoint of its own."""
        return self.lineage.source

    @property
    def best_epoch(self) -> bool:
        """Whether it keeps the weights of its best epoch, not of its last."""
        return "selection" in self.parts

    @property
    def sources(self) -> tuple[str, ...]:
        """What its teachers are called in a cohort, in which they may be run for others."""
        return tuple(f"{teacher.name}, kept" if self.kept else teacher.name for teacher in self.teachers)

    def needs(self, index: int) -> frozenset[str]:
        """All that its stages read of a teacher."""
        stages = (stage.needs.teachers[index : index + 1] for stage in self.method.stages())
        return frozenset(name for names in stages for each in names for name in each)

    @property
    def stage_data(self) -> tuple[StageData, ...]:
        """What each of its stages trains on."""
        return stage_data(self.method.stages(), self.cell.variant.stages, augmented=self.augmented is not None)

    @property
    def cohort(self) -> tuple[str, str, int, str]:
        """Runs that agree in this see the same batches."""
        augmented = self.augmented.key if self.augmented else ""
        if len(set(self.stage_data)) > 1:  # the step at which the data change is part of what a run sees
            augmented += f" {self._stage_lengths}"
        return self.data.task.name, self.reader.fingerprint, self.data_seed, augmented

    @property
    def _stage_lengths(self) -> tuple[object, ...]:
        """What decides at which steps its stages begin, and their data."""
        own = self.cell.variant.stages
        lengths = [
            (each.steps, each.epochs)
            for stage in self.method.stages()
            for given in [own.get(stage.name)]
            for each in [given if given and (given.steps or given.epochs) else stage]
        ]
        return (*zip(lengths, (stage.share for stage in self.method.stages()), self.stage_data, strict=True),)


@dataclass(frozen=True)
class Choice:
    """Whether one teacher's tensors on one task are kept by example.

    Attributes:
        kept: rows of the board that read kept tensors.
        gb: what those take.
        epochs: passes over the data of the row that makes most, for one order of the examples; `orders`, how many
            orders there are over all seeds.
        teachers: how many there are, one per seed; each has `gb` and is read in `orders`.
        fresh: why other rows have the teacher run for them -> those rows.
    """

    task: str
    teacher: str
    kept: tuple[str, ...]
    gb: float
    epochs: float
    orders: int
    fresh: Mapping[str, tuple[str, ...]]
    teachers: int = 1


def task_info(task: Task) -> TaskInfo:
    """What a method may know of a task."""
    return TaskInfo(task.name, task.kind, task.num_labels)
