"""Define the jobs of a plan: teachers to fine-tune, data to augment, students to pretrain or train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.api.method import Augmentation, Cofinetuning, General, Method, Stage
from harness.api.search_space import Choices, Dimension
from harness.config.method_schema import StageOverride
from harness.config.student_schema import StudentSpec
from harness.config.teacher_schema import TeacherSpec
from harness.config.training_schema import TrainingSpec
from harness.planning.job_inputs import TaskData, TokenizerRef
from harness.resolution.suite import Cell
from harness.storage.plan_file import PlannedRun
from harness.storage.records import TuningSummary
from harness.storage.tuning_records import BATCH_SIZE
from harness.tasks.corpus import TextCorpus
from harness.training.schedule import StageBatches, stage_data, stage_training


@dataclass(frozen=True)
class Group:
    """Teachers to fine-tune together on a task.

    `members` are the teachers as they would be trained alone; `cofinetuning` is the method's request. `label` is the
    row of the board that requests the group. The group uses the first member's seed and settings.
    """

    label: str
    members: tuple[TeacherJob, ...]
    cofinetuning: Cofinetuning
    key: str


@dataclass(frozen=True)
class TeacherJob:
    """A teacher to fine-tune on a task, or a fine-tuned checkpoint to score on it (``spec.finetune`` is false), or the
    student of a run of the suite (`run`).

    `checkpoint` is None for a teacher that is trained from scratch, and for a student of the suite.

    Attributes:
        row: row of the board: the teacher's name in the suite, followed by the group's label for a member of a group.
        name: name that is unique among the plan's teachers of a task. It includes the seed if a row has one teacher per
            seed.
        spec: the teacher's entry, with a single seed.
        training: the suite's settings, overridden by the teacher's or the group's.
        group: the group that it is fine-tuned in, if any; `index` is its position there.
        seed_index: position of the seed whose runs learn from it, None if all do.
        order: of a fine-tuned checkpoint: the position of each class of the task among its outputs; empty: no classes.
        head: where its head comes from; empty for a new one.
        run: the run whose trained student it is, for a teacher that is a row of the suite; `key` is its key.
    """

    row: str
    name: str
    spec: TeacherSpec
    data: TaskData
    checkpoint: Path | None
    tokenizer_ref: TokenizerRef
    training: TrainingSpec
    parts: Mapping[str, Any]
    key: str
    group: Group | None = None
    index: int = 0
    seed_index: int | None = None
    order: tuple[int, ...] = ()
    head: str = ""
    run: RunJob | None = None

    @property
    def alone(self) -> TeacherJob:
        """The same teacher, trained alone."""
        return self.group.members[self.index] if self.group else self

    @property
    def fine_tuning_seed(self) -> int | None:
        """The seed of its specification or run; None for a checkpoint that is fine-tuned already."""
        if self.run is not None:
            return self.run.planned.seed
        return self.spec.seed if self.spec.finetune else None

    @property
    def seed(self) -> int:
        return self.group.members[0].spec.seed if self.group else self.spec.seed

    @property
    def depth(self) -> int:
        """Number of runs of the suite that are trained one after another before it can teach; 0: none."""
        return self.run.depth + 1 if self.run is not None else 0

    def is_copied_fine_tuned(self, student: StudentSpec) -> bool:
        """Whether a student that starts from this teacher copies its layers after its fine-tuning.

        A teacher that is trained from scratch gives its layers after fine-tuning only. With `init: random` only the
        model family matters, and a checkpoint that is fine-tuned before has the same layers.
        """
        if student.init == "random" or not self.spec.finetune:
            return False
        return student.init_from == "teacher" or self.checkpoint is None


@dataclass(frozen=True)
class AugmentationJob:
    """Augmented training data to generate for a task, with the masked language model in the folder `model`, if the
    augmentation uses one, and `files`. `label` is the row of the board that requests them."""

    label: str
    data: TaskData
    augmentation: Augmentation
    model: Path | None
    files: tuple[Path, ...]
    parts: Mapping[str, Any]
    key: str


@dataclass(frozen=True)
class TextStageJob:
    """A student to distil on unlabelled text, once for all tasks (text stage).

    `label` and `student` are the row of the board that requests it. `method` is bound to the text and to the shapes of
    this stage. The student is initialized according to `spec`: from `checkpoint`, or with layers of the model in the
    folder `source`. Its teacher is `assistant` or, without one, the pretrained model in the folder `teacher`. `data` is
    the source of the text as written in the suite.
    """

    label: str
    student: str
    method: Method
    general: General
    spec: StudentSpec
    checkpoint: Path | None
    source: Path | None
    teacher: Path
    assistant: TextStageJob | None
    tokenizer_ref: TokenizerRef
    data: str
    text: TextCorpus
    training: TrainingSpec
    steps: int
    seed: int
    parts: Mapping[str, Any]
    key: str

    @property
    def cohort(self) -> tuple[str, str, float, float]:
        """Cohort id: jobs with equal ids train on the same batches and learn from the same teacher."""
        teacher = self.assistant.key if self.assistant else str(self.teacher)
        return teacher, self.tokenizer_ref.fingerprint, self.general.masking, self.general.smoothing

    @property
    def chain(self) -> tuple[TextStageJob, ...]:
        """The jobs in training order: the assistant, if there is one, then the student."""
        return (self.assistant, self) if self.assistant else (self,)

    @property
    def overrides(self) -> dict[str, StageOverride]:
        return {self.general.stage.name: StageOverride(steps=self.steps)}


@dataclass(frozen=True)
class Lineage:
    """The fine-tuned models that a run depends on.

    `source`, the suite's first teacher, gives the student its family or weights. `parts` are the run's key parts that
    depend on these models.
    """

    teachers: tuple[TeacherJob, ...]
    source: TeacherJob | None
    parts: Mapping[str, Any]

    @property
    def seed_index(self) -> int:
        """Position of the seed that these teachers belong to; 0 if all runs share them."""
        return max((teacher.seed_index or 0 for teacher in self.teachers), default=0)


CohortId = tuple[str, str, int, str, tuple[object, ...], int]
"""Task, tokenizer, data seed, augmented data, batches, and number of runs that come before in a chain of teachers."""


@dataclass(frozen=True)
class RunJob:
    """A student to train.

    Attributes:
        checkpoint: the checkpoint that the suite initializes the student from; without one it starts from `source`.
        lineage: the teachers that this run depends on.
        first: the lineage of the first seed's run, with which the row is tuned.
        training: the suite's settings for the task, with the tuned learning rate and batch size if there are any.
        augmented: the data that replace the task's training data in the stages given by `stage_batches`.
        general: the text stage whose student it starts from.
        best_epoch: whether it ends with the weights of its best epoch instead of its last.
        space: the search space of its row; empty if the row is not tuned.
        reads_cache: whether it reads cached teacher outputs.
        trial: number of the tuning trial, None for a run of the suite.
        tuned: the tuned values that it uses.
    """

    planned: PlannedRun
    cell: Cell
    method: Method
    data: TaskData
    tokenizer_ref: TokenizerRef
    checkpoint: Path | None
    lineage: Lineage
    first: Lineage
    data_seed: int
    parts: Mapping[str, Any]
    training: TrainingSpec
    augmented: AugmentationJob | None = None
    general: TextStageJob | None = None
    best_epoch: bool = False
    space: Mapping[str, Dimension] = field(default_factory=dict)
    reads_cache: bool = False
    trial: int | None = None
    tuned: TuningSummary | None = None

    @cached_property
    def stages(self) -> Sequence[Stage]:
        """The stages of its method: a pure function, which plugins may compute slowly."""
        return tuple(self.method.stages())

    @property
    def teachers(self) -> tuple[TeacherJob, ...]:
        return self.lineage.teachers

    @cached_property
    def depth(self) -> int:
        """Length of the chain of runs that it learns from; 0: no teacher is a row of the suite."""
        return max((teacher.depth for teacher in self.teachers), default=0)

    @property
    def source(self) -> TeacherJob | None:
        """The teacher that gives a student without a checkpoint its family, and its weights if `init` copies them."""
        return self.lineage.source

    def copies_fine_tuned(self, student: StudentSpec) -> bool:
        """Whether the student copies layers of `source` after its fine-tuning.

        A student with a checkpoint or a text stage starts from that.
        """
        if self.general or self.checkpoint is not None or self.source is None:
            return False
        return self.source.is_copied_fine_tuned(student)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of its teachers in a cohort, which distinguish cached teachers from those that other runs compute."""
        return tuple(f"{teacher.name}, cached" if self.reads_cache else teacher.name for teacher in self.teachers)

    def needs(self, index: int) -> frozenset[str]:
        """Return the outputs of the teacher at `index` that any stage needs."""
        stages = (stage.needs.teachers[index : index + 1] for stage in self.stages)
        return frozenset(name for needs in stages for names in needs for name in names)

    @property
    def live(self) -> bool:
        """Whether its method runs the teachers itself in a stage. Then the run reads no cached outputs."""
        return any(stage.live for stage in self.stages)

    @property
    def stage_batches(self) -> tuple[StageBatches, ...]:
        """The batches of each stage."""
        data = stage_data(self.stages, self.cell.variant.stages, augmented=self.augmented is not None)
        return tuple(map(StageBatches.of, data, self.stage_training))

    @property
    def epoch_batches(self) -> StageBatches:
        """The batches by which its epochs are counted: of the task's own examples, also if it trains on others."""
        return StageBatches.of("task", self.training)

    @property
    def stage_training(self) -> tuple[TrainingSpec, ...]:
        """The training settings of each stage."""
        return stage_training(self.stages, self.cell.variant.stages, self.training)

    @property
    def max_batch_size(self) -> int:
        """The largest number of examples of a step in any stage, if every example has `max_length` tokens.

        Of a run that is not tuned yet, it is that of the largest batch size that tuning may choose.
        """
        stages = [settings.max_batch_size for settings in self.stage_training]
        return max([*stages, *tuned_batch_sizes(self)], default=self.training.max_batch_size)

    @property
    def cohort(self) -> CohortId:
        """Cohort id: runs with equal ids train on the same batches, and none of them learns from another one."""
        augmented = self.augmented.key if self.augmented else ""
        batches: tuple[object, ...] = tuple(dict.fromkeys(self.stage_batches))
        if len(batches) > 1:  # the step at which they change decides which batches a run sees
            batches = self._stage_lengths
        return self.data.task.name, self.tokenizer_ref.fingerprint, self.data_seed, augmented, batches, self.depth

    @property
    def _stage_lengths(self) -> tuple[object, ...]:
        """The settings that decide the first step of each stage, and the batches of each."""
        overrides = self.cell.variant.stages
        lengths = [
            (source.steps, source.epochs)
            for stage in self.stages
            for override in [overrides.get(stage.name)]
            for source in [override if override and (override.steps or override.epochs) else stage]
        ]
        return (*zip(lengths, (stage.share for stage in self.stages), self.stage_batches, strict=True),)


def tuned_batch_sizes(job: RunJob) -> list[int]:
    """Return the batch sizes that tuning may choose for a run; empty if it is tuned already, or a trial."""
    if job.tuned is not None or job.trial is not None:
        return []
    sizes = job.space.get(BATCH_SIZE)
    return list(sizes.values) if isinstance(sizes, Choices) else []
