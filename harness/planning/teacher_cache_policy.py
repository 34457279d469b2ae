"""Which runs read teacher tensors that are kept by example, and which have their teachers run for them.

It is part of a run's key, so it follows from the suite alone: not from what is done, nor from what the cache holds, nor
from how many seeds there are; a method that is added at the end changes nothing for those before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import torch

from harness.api.model_outputs import ModelShape
from harness.config.schema import SuiteSpec, TrainingSpec
from harness.planning import keys
from harness.planning.jobs import Choice, RunJob, TaskData, TeacherJob, TokenizerRef
from harness.storage.hashing import key
from harness.tasks.tokenization import encode
from harness.teacher_outputs.output_store import by_token, stored_for
from harness.training.schedule import stage_steps

GB = 10**9

SAMPLE = 500
"""Examples of a training set that are tokenised to tell the length of all."""

FLOPS = {"cpu": 1e11, "mps": 2e12, "cuda": 1e14}
"""A second, of a forward pass: the order of magnitude, since all machines must choose alike."""

LAYER_SECONDS = 2e-4
"""That one layer takes for a batch however small."""

BYTES_PER_SECOND = 1e9
"""That are read and put into a batch."""

WORTH = 2
"""How many times faster reading must be than computing."""

SEEDS = 3
"""Orders of the data, or teachers, that are counted where each seed has its own, however many there are now: fewer
make no more than a preliminary board."""


def told(choice: Choice) -> str:
    """In words, for `harness plan`."""
    parts = []
    if choice.kept:
        times = f"{_number(choice.epochs, 'epoch')} x {_number(choice.orders, 'order')}"
        passes = f"1 pass instead of {choice.epochs * choice.orders:.3g}"
        of_each = f" of each of {choice.teachers} teachers" if choice.teachers > 1 else ""
        parts.append(f"{times}; {_gigabytes(choice.gb)}{of_each} kept for {', '.join(choice.kept)}, {passes}")
    parts += [f"fresh for {', '.join(rows)}: {reason}" for reason, rows in choice.fresh.items()]
    return f"{choice.teacher} on {choice.task}: {'; '.join(parts)}"


def decide(jobs: Sequence[RunJob], spec: SuiteSpec, device: str) -> tuple[list[RunJob], tuple[Choice, ...]]:
    """The same jobs in the same order, those that read kept tensors marked and under keys that say so; and why."""
    if not spec.teacher_cache.max_gb:
        return list(jobs), ()
    desks = {
        name: _Desk(spec, name, torch.device(device).type) for name in dict.fromkeys(job.planned.task for job in jobs)
    }
    kept = set()
    for row, group in groupby(jobs, key=lambda job: (job.planned.task, job.planned.label, job.planned.student)):
        if desks[row[0]].keeps(list(group)):
            kept.add(row)
    decided = [
        _kept(job) if (job.planned.task, job.planned.label, job.planned.student) in kept else job for job in jobs
    ]
    return decided, tuple(choice for desk in desks.values() for choice in desk.choices())


def _kept(job: RunJob) -> RunJob:
    parts = keys.kept(job.parts)
    return replace(job, planned=job.planned.model_copy(update={"key": key(parts)}), parts=parts, kept=True)


@dataclass(frozen=True)
class Size:
    """Of a training set: examples (for QA windows), and tokens."""

    rows: float
    tokens: float


@dataclass
class _Said:
    """Of one teacher, as the rows come."""

    kept: list[str] = field(default_factory=list)
    bytes: float = 0.0
    epochs: float = 0.0
    teachers: int = 1
    fresh: dict[str, list[str]] = field(default_factory=dict)


class _Desk:
    """Decides for the rows of one task, in the suite's order. Each task has the whole of the cache while it is
    trained."""

    def __init__(self, spec: SuiteSpec, task: str, device: str) -> None:
        self.spec = spec
        self.training = spec.training.on(task)
        self.task = task
        self.device = device
        self.taken: dict[tuple[str, ...], set[str]] = {}
        self.bytes = 0.0
        self.sizes: dict[str, Size] = {}
        self.said: dict[str, _Said] = {}

    def keeps(self, row: list[RunJob]) -> bool:
        """Whether the row, one run for each seed, reads kept tensors."""
        first = row[0]
        asked = [(index, teacher, names) for index, teacher, names in _asked(row) if names]
        if not asked:
            return False
        epochs = _epochs(first, self.training)
        more = {teacher.row: self._more(first, index, teacher, names) for index, teacher, names in asked}
        reason = self._reason(first, asked, epochs, sum(more.values()))
        for _, teacher, names in asked:
            said = self.said.setdefault(teacher.row, _Said())
            said.epochs = max(said.epochs, epochs)
            said.teachers = 1 if teacher.place is None else len(self.spec.seeds)
            label = f"{first.planned.label} on {first.planned.student}" if len(self.spec.students) > 1 else ""
            label = label or first.planned.label
            if reason:
                said.fresh.setdefault(reason, []).append(label)
                continue
            self.taken.setdefault(_place(first, teacher), set()).update(names)
            self.bytes += more[teacher.row]
            said.bytes += more[teacher.row] / self._at_once(teacher)
            said.kept.append(label)
        return reason is None

    def _reason(
        self, job: RunJob, asked: list[tuple[int, TeacherJob, frozenset[str]]], epochs: float, more: float
    ) -> str | None:
        """Why the row is not to read kept tensors."""
        training, most = self.training, self.spec.teacher_cache.max_gb * GB
        if job.augmented:
            return "it learns from data of its own"
        passes = epochs * (SEEDS if training.data_seed is None else 1)
        small = all(names <= {"logits", "pooled"} for _, _, names in asked)
        if passes < 1 or (passes == 1 and not small):
            return "the data are read no more than once"
        reading = sum(self._reading(job, index, teacher, names) for index, teacher, names in asked)
        computing = sum(self._computing(job, index, teacher) for index, teacher, _ in asked)
        if reading * WORTH > computing:
            return f"on {self.device} they are computed about as fast as they are read"
        if self.bytes + more > most:
            free = _gigabytes(max(0.0, most - self.bytes) / GB)
            return f"{_gigabytes(more / GB)} more do not fit teacher_cache.max_gb, {free} of which are free"
        return None

    def _more(self, job: RunJob, index: int, teacher: TeacherJob, names: frozenset[str]) -> float:
        """Bytes of what is not taken yet for a row before."""
        new = names - self.taken.get(_place(job, teacher), set())
        return self._at_once(teacher) * sum(self._bytes(name, job, index, teacher) for name in new)

    def _at_once(self, teacher: TeacherJob) -> int:
        """How many seeds of a teacher are kept at once: where all have one order of the data, a cohort reads all of
        them; otherwise those of one seed can make room for those of the next."""
        return SEEDS if teacher.place is not None and self.spec.training.data_seed is not None else 1

    def _bytes(self, name: str, job: RunJob, index: int, teacher: TeacherJob) -> float:
        kind, hidden, size = job.data.task.kind, job.method.teachers[index].hidden, self._size(job.data, teacher.reader)
        entries = size.tokens if by_token(name, kind == "qa") else size.rows
        width = job.method.task.num_labels if name == "logits" else hidden
        return entries * width * (2 if self.training.precision == "bf16" else 4)

    def _reading(self, job: RunJob, index: int, teacher: TeacherJob, names: frozenset[str]) -> float:
        """Seconds, of the whole training set."""
        return sum(self._bytes(name, job, index, teacher) for name in names) / BYTES_PER_SECOND

    def _computing(self, job: RunJob, index: int, teacher: TeacherJob) -> float:
        """Seconds of a forward pass over the whole training set."""
        shape, size = job.method.teachers[index], self._size(job.data, teacher.reader)
        layers = shape.layers * size.rows / self.training.max_batch_size
        return size.tokens * _flops(shape) / FLOPS.get(self.device, FLOPS["cuda"]) + layers * LAYER_SECONDS

    def _size(self, data: TaskData, reader: TokenizerRef) -> Size:
        if reader.fingerprint not in self.sizes:
            self.sizes[reader.fingerprint] = _measured(data, reader, self.training.max_length)
        return self.sizes[reader.fingerprint]

    def choices(self) -> Iterator[Choice]:
        every = 1 if self.training.data_seed is not None else len(self.spec.seeds)
        for teacher, said in self.said.items():
            orders = every if said.teachers == 1 else 1  # of several, each is read by the runs of one seed
            fresh = {reason: tuple(rows) for reason, rows in said.fresh.items()}
            yield Choice(
                self.task, teacher, tuple(said.kept), said.bytes / GB, said.epochs, orders, fresh, said.teachers
            )


def _asked(row: Sequence[RunJob]) -> Iterator[tuple[int, TeacherJob, frozenset[str]]]:
    """Of each teacher, by its index, the tensors to keep for all runs of the row; a mapping may be drawn by seed."""
    for index, teacher in enumerate(row[0].teachers):
        yield index, teacher, stored_for(name for job in row for name in job.needs(index))


def _place(job: RunJob, teacher: TeacherJob) -> tuple[str, ...]:
    """Rows that agree in this share what is kept."""
    return teacher.key, teacher.reader.beside(job.reader.fingerprint), job.reader.fingerprint


def _epochs(job: RunJob, training: TrainingSpec) -> float:
    """Passes over the data in which a teacher is read."""
    stages, batches = job.method.stages(), -(-len(job.data.splits.train) // training.max_batch_size)
    lengths = stage_steps(stages, job.cell.variant.stages, epochs=training.epochs, batches_per_epoch=batches)
    return sum(n for stage, n in zip(stages, lengths, strict=True) if any(stage.needs.teachers)) / batches


def _measured(data: TaskData, reader: TokenizerRef, max_length: int) -> Size:
    """From examples that lie evenly in the data; exact where those are all."""
    train = data.splits.train
    chosen = sorted({index * len(train) // SAMPLE for index in range(SAMPLE)})
    encoded = encode(train.select(chosen), data.task, reader.tokenizer, max_length)
    scale = len(train) / len(chosen)
    return Size(len(encoded) * scale, float(encoded.lengths.sum()) * scale)


def _flops(shape: ModelShape) -> float:
    """Of one token: a multiplication and an addition for each weight of the layers."""
    return 2.0 * shape.layers * (4 * shape.hidden**2 + 2 * shape.hidden * shape.ffn)


def _number(count: float, what: str) -> str:
    return f"{count:.3g} {what}{'' if count == 1 else 's'}"


def _gigabytes(gb: float) -> str:
    return f"{gb:.1f} GB" if gb >= 0.1 else f"{gb * 1000:.1f} MB"
