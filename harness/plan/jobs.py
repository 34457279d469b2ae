"""What there is to do: teachers to fine-tune, students to train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from harness.method import Augmentation, Cofinetuning, General, Method, TaskInfo
from harness.plan import figures, rows, sharing
from harness.results.records import NotApplicable, PlanFile, PlannedGeneral, PlannedRun, PlannedTask
from harness.suite.resolved import Cell, Resolved
from harness.suite.schema import StageOverride, StudentSpec, SuiteSpec, TeacherSpec, TrainingSpec
from harness.tasks.base import Splits, Task
from harness.tasks.text import Text
from harness.training import memory

SCRATCH_POSITIONS = 512
"""Tokens that a teacher from scratch takes at least."""


@dataclass(frozen=True)
class Reader:
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
    """A task's examples, as limited by the suite, and their fingerprints."""

    task: Task
    splits: Splits
    train_fingerprint: str
    validation_fingerprint: str


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

    `name` is unique among a plan's teachers of a task: the suite's name, with the group's label if the teacher is the
    `index`-th member of a `group`. `training` are the suite's settings with the teacher's own put in, or the group's.
    """

    name: str
    spec: TeacherSpec
    data: TaskData
    checkpoint: Path | None
    reader: Reader
    training: TrainingSpec
    parts: Mapping[str, Any]
    key: str
    group: Group | None = None
    index: int = 0

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
    reader: Reader
    data: str
    text: Text
    training: TrainingSpec
    steps: int
    seed: int
    parts: Mapping[str, Any]
    key: str

    @property
    def cohort(self) -> tuple[str, str, float]:
        """Jobs that agree in this see the same batches, and learn from the same teacher."""
        teacher = self.assistant.key if self.assistant else str(self.teacher)
        return teacher, self.reader.fingerprint, self.general.masking

    @property
    def chain(self) -> tuple[GeneralJob, ...]:
        """The assistant, if there is one, and then the student."""
        return (self.assistant, self) if self.assistant else (self,)

    @property
    def overrides(self) -> dict[str, StageOverride]:
        return {self.general.stage.name: StageOverride(steps=self.steps)}


@dataclass(frozen=True)
class RunJob:
    """A student to train. `source` is the suite's first teacher on that task, whose family and layers it takes;
    `checkpoint` is where it starts from instead, if the suite says so. `augmented` is what it learns from in place of
    the task's own training data; `general`, the stage on unlabelled text that makes the student it begins with. `kept`:
    it reads its teachers' tensors from the cache."""

    planned: PlannedRun
    cell: Cell
    method: Method
    data: TaskData
    reader: Reader
    source: TeacherJob | None
    checkpoint: Path | None
    teachers: tuple[TeacherJob, ...]
    data_seed: int
    parts: Mapping[str, Any]
    augmented: AugmentationJob | None = None
    general: GeneralJob | None = None
    kept: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """What its teachers are called in a cohort, in which they may be run for others."""
        return tuple(f"{teacher.name}, kept" if self.kept else teacher.name for teacher in self.teachers)

    def needs(self, index: int) -> frozenset[str]:
        """All that its stages read of a teacher."""
        stages = (stage.needs.teachers[index : index + 1] for stage in self.method.stages())
        return frozenset(name for names in stages for each in names for name in each)

    @property
    def cohort(self) -> tuple[str, str, int, str]:
        """Runs that agree in this see the same batches."""
        augmented = self.augmented.key if self.augmented else ""
        return self.data.task.name, self.reader.fingerprint, self.data_seed, augmented


@dataclass(frozen=True)
class Choice:
    """Whether one teacher's tensors on one task are kept by example.

    Attributes:
        kept: rows of the board that read kept tensors.
        gb: what those take.
        epochs: passes over the data of the row that makes most, for one order of the examples; `orders`, how many
            orders there are over all seeds.
        fresh: why other rows have the teacher run for them -> those rows.
    """

    task: str
    teacher: str
    kept: tuple[str, ...]
    gb: float
    epochs: float
    orders: int
    fresh: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Plan:
    """A suite with every key known. `device` is where it will train; `choices` say which teachers' tensors are kept."""

    resolved: Resolved
    device: str
    teachers: tuple[TeacherJob, ...]
    runs: tuple[RunJob, ...]
    not_applicable: tuple[NotApplicable, ...]
    choices: tuple[Choice, ...] = ()

    @property
    def spec(self) -> SuiteSpec:
        return self.resolved.suite.spec

    @cached_property
    def room(self) -> int:
        """Bytes that a cohort may take."""
        return memory.room(self.device, self.spec.training.max_memory_gb)

    def cohorts(self, jobs: Sequence[RunJob]) -> list[list[RunJob]]:
        """The jobs in groups that train side by side, in the suite's order: as many as have room in memory."""
        groups: dict[tuple[str, str, int, str], dict[str, RunJob]] = {}
        for job in jobs:
            # Two labels of one key are one run: the board shows its record under both.
            groups.setdefault(job.cohort, {}).setdefault(job.planned.key, job)
        return [part for group in groups.values() for part in sharing.split([*group.values()], self.load, self.room)]

    def load(self, job: RunJob) -> memory.Load:
        """What a run takes of the memory."""
        return sharing.of_run(job, self.spec.training, self.device)

    def generals(self, jobs: Sequence[RunJob]) -> list[GeneralJob]:
        """The general stages that the jobs begin with, each once, an assistant before its students."""
        found = [each for job in jobs if job.general for each in job.general.chain]
        return list({each.key: each for each in found}.values())

    def augmentations(self, jobs: Sequence[RunJob]) -> list[AugmentationJob]:
        """The training data that the jobs ask to be made, each once."""
        return list({job.augmented.key: job.augmented for job in jobs if job.augmented}.values())

    def _planned(self, job: GeneralJob) -> PlannedGeneral:
        """A general stage, with every row of the board that begins with it."""
        rows = (run for run in self.runs if run.general and job.key in {each.key for each in run.general.chain})
        labels = list(dict.fromkeys(run.planned.label for run in rows))
        return PlannedGeneral(key=job.key, labels=labels, student=job.student, data=job.data, steps=job.steps)

    def file(self, command: str) -> PlanFile:
        """What the suite asks for, as the store keeps it."""
        suite, limit = self.resolved.suite, self.spec.training.limit
        labels = dict.fromkeys(variant.label for variant in suite.variants)
        teachers: dict[str, dict[str, str]] = {}
        for job in self.teachers:
            teachers.setdefault(job.name, {})[job.data.task.name] = job.key
        return PlanFile(
            suite=self.spec.name,
            command=command,
            tasks=[
                PlannedTask(
                    name=task.name,
                    kind=task.kind,
                    score=task.score,
                    synthetic=task.synthetic,
                    percent=task.in_percent,
                    diagnostic=task.diagnostic,
                )
                for task in suite.tasks
            ],
            students=list(self.spec.students),
            labels=list(labels),
            teachers=teachers,
            seeds=list(self.spec.seeds),
            runs=[job.planned for job in self.runs],
            not_applicable=list(self.not_applicable),
            limits={name: value for name, value in limit.model_dump().items() if value is not None},
            generals=[self._planned(job) for job in self.generals(self.runs)],
            latency=self.spec.latency,
            published=figures.beside(self.resolved),
            citations={v.method.name: v.method.citation for v in suite.variants if v.method.citation},
            rows=rows.rows(self.resolved),
            shapes=rows.shapes(self.resolved),
        )


def task_info(task: Task) -> TaskInfo:
    """What a method may know of a task."""
    return TaskInfo(task.name, task.kind, task.num_labels)
