"""Decide which runs read cached teacher outputs, and which run their teachers.

The decision is part of a run's key, so it depends on the suite alone: not on completed runs, the contents of the cache
or the seeds. A method added at the end changes nothing for the methods before it. The constants of this module are
fixed for the same reason: another value would change keys. The rates of `time_estimate` may be improved at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from harness.api.model_outputs import ModelShape
from harness.config.schema import SuiteSpec
from harness.planning import keys
from harness.planning.cache_decisions import GB, CacheDecision, gigabytes
from harness.planning.job_inputs import TaskData, TokenizerRef
from harness.planning.jobs import RunJob, TeacherJob
from harness.planning.method_binding import rebound
from harness.planning.stage_plan import planned_stages
from harness.storage.derived_values import derived
from harness.storage.frozen_model import FrozenModel
from harness.storage.hashing import key
from harness.tasks.tokenization import encode
from harness.teacher_outputs.output_store import by_token, size_in_bytes, stored_for

SAMPLE = 500
"""Number of examples that are tokenized to estimate the size of a training set."""

DECISION_FLOPS = {"cpu": 1e11, "mps": 2e12, "cuda": 1e14}
"""Assumed FLOP/s of a forward pass. Orders of magnitude: all machines must decide alike."""

DECISION_LAYER_SECONDS = 2e-4
"""Minimum time of one layer for a batch of any size, in seconds."""

BYTES_PER_SECOND = 1e9
"""Assumed rate of reading cached outputs and collating them into batches."""

WORTH = 2
"""Minimum speed-up of reading over computing for which outputs are cached."""

SEEDS = 3
"""Number of data orders, teachers or layer mappings that is assumed if each seed has its own.

The actual seeds are ignored, so that seeds added later do not change keys.
"""


class CachePolicy:
    """Decides row by row. A row of the board is decided after the rows whose students teach it."""

    def __init__(self, spec: SuiteSpec, device: str) -> None:
        self.spec = spec
        self.device = device
        self._policies: dict[str, _TaskPolicy] = {}

    def decide(self, row: Sequence[RunJob]) -> list[RunJob]:
        """Return the jobs of a row on a task and student, one for each seed.

        If they read cached teacher outputs, they have `reads_cache` and keys of their own.
        """
        if not self.spec.teacher_cache.max_gb:
            return list(row)
        task = row[0].planned.task
        if task not in self._policies:
            self._policies[task] = _TaskPolicy(self.spec, task, torch.device(self.device).type)
        return [_with_cache(job) for job in row] if self._policies[task].decide(list(row)) else list(row)

    def decisions(self) -> tuple[CacheDecision, ...]:
        """Return the decisions and their reasons, by task and teacher."""
        return tuple(decision for policy in self._policies.values() for decision in policy.decisions())


def _with_cache(job: RunJob) -> RunJob:
    parts = keys.with_cached_outputs(job.parts)
    return replace(job, planned=job.planned.model_copy(update={"key": key(parts)}), parts=parts, reads_cache=True)


class Size(FrozenModel):
    """The size of a tokenized training set: rows (examples, or windows for QA) and tokens."""

    rows: float
    tokens: float


@dataclass
class _TeacherTotals:
    """The decisions for one teacher, accumulated over the rows of the board."""

    cached: list[str] = field(default_factory=list)
    bytes: float = 0.0
    epochs: float = 0.0
    teachers: int = 1
    fresh: dict[str, list[str]] = field(default_factory=dict)


class _TaskPolicy:
    """Decides for the rows of one task, in the suite's order.

    Each task may use `teacher_cache.max_gb` in full, as tasks are trained one after another.
    """

    def __init__(self, spec: SuiteSpec, task: str, device: str) -> None:
        self.spec = spec
        self.training = spec.training.on(task)
        self.task = task
        self.device = device
        self.cached: dict[tuple[str, ...], set[str]] = {}
        self.bytes = 0.0
        self.sizes: dict[str, Size] = {}
        self.totals: dict[str, _TeacherTotals] = {}

    def decide(self, row: list[RunJob]) -> bool:
        """Decide whether the row, with one run for each seed, reads cached teacher outputs."""
        first = row[0]
        requests = [(index, teacher, names) for index, teacher, names in _cacheable_outputs(first) if names]
        if not requests:
            return False
        epochs = _epochs(first)
        added_bytes = {
            teacher.row: self._additional_bytes(first, index, teacher, names) for index, teacher, names in requests
        }
        reason = self._reason(first, requests, epochs, sum(added_bytes.values()))
        for _, teacher, names in requests:
            totals = self.totals.setdefault(teacher.row, _TeacherTotals())
            totals.epochs = max(totals.epochs, epochs)
            totals.teachers = 1 if teacher.seed_index is None else len(self.spec.seeds)
            label = f"{first.planned.label} on {first.planned.student}" if len(self.spec.students) > 1 else ""
            label = label or first.planned.label
            if reason:
                totals.fresh.setdefault(reason, []).append(label)
                continue
            self.cached.setdefault(_cache_id(first, teacher), set()).update(names)
            self.bytes += added_bytes[teacher.row]
            totals.bytes += added_bytes[teacher.row] / self._seeds_cached_together(teacher)
            totals.cached.append(label)
        return reason is None

    def _reason(
        self, job: RunJob, requests: list[tuple[int, TeacherJob, frozenset[str]]], epochs: float, added_bytes: float
    ) -> str | None:
        """Return why the row does not read cached teacher outputs, None if it does."""
        training, limit = self.training, self.spec.teacher_cache.max_gb * GB
        if job.augmented:
            return "it learns from data of its own"
        if job.live:
            return "its method runs the teacher itself"
        passes = epochs * (SEEDS if training.data_seed is None else 1)
        small = all(names <= {"logits", "pooled"} for _, _, names in requests)
        if passes < 1 or (passes == 1 and not small):
            return "the data are read no more than once"
        reading = sum(self._read_seconds(job, index, teacher, names) for index, teacher, names in requests)
        computing = sum(self._compute_seconds(job, index, teacher) for index, teacher, _ in requests)
        if reading * WORTH > computing:
            return f"on {self.device} they are computed about as fast as they are read"
        if self.bytes + added_bytes > limit:
            free = gigabytes(max(0.0, limit - self.bytes) / GB)
            return f"{gigabytes(added_bytes / GB)} more do not fit teacher_cache.max_gb, {free} of which are free"
        return None

    def _additional_bytes(self, job: RunJob, index: int, teacher: TeacherJob, names: frozenset[str]) -> float:
        """Return the bytes of the outputs that no earlier row has cached."""
        new = names - self.cached.get(_cache_id(job, teacher), set())
        return self._seeds_cached_together(teacher) * sum(self._bytes(name, job, index, teacher) for name in new)

    def _seeds_cached_together(self, teacher: TeacherJob) -> int:
        """Return how many seeds of a teacher are cached at the same time.

        With a shared order of the data, one cohort reads the outputs of all seeds. Otherwise the outputs of one seed
        can be evicted before those of the next are computed.
        """
        return SEEDS if teacher.seed_index is not None and self.spec.training.data_seed is not None else 1

    def _bytes(self, name: str, job: RunJob, index: int, teacher: TeacherJob) -> float:
        kind, hidden, size = (
            job.data.task.kind,
            job.method.teachers[index].hidden,
            self._size(job.data, teacher.tokenizer_ref),
        )
        entries = size.tokens if by_token(name, kind) else size.rows
        width = job.method.task.num_labels if name == "logits" else hidden
        return size_in_bytes(entries, width, self.training.precision)

    def _read_seconds(self, job: RunJob, index: int, teacher: TeacherJob, names: frozenset[str]) -> float:
        """Estimate the seconds of reading the outputs of the training set from the cache."""
        return sum(self._bytes(name, job, index, teacher) for name in names) / BYTES_PER_SECOND

    def _compute_seconds(self, job: RunJob, index: int, teacher: TeacherJob) -> float:
        """Estimate the seconds of a teacher's forward pass over the training set."""
        shape, size = job.method.teachers[index], self._size(job.data, teacher.tokenizer_ref)
        rate = DECISION_FLOPS.get(self.device, DECISION_FLOPS["cuda"])
        layers = shape.layers * size.rows / self.training.max_batch_size
        return size.tokens * _flops_per_token(shape) / rate + layers * DECISION_LAYER_SECONDS

    def _size(self, data: TaskData, tokenizer_ref: TokenizerRef) -> Size:
        if tokenizer_ref.fingerprint not in self.sizes:
            self.sizes[tokenizer_ref.fingerprint] = _estimate_size(data, tokenizer_ref, self.training.max_length)
        return self.sizes[tokenizer_ref.fingerprint]

    def decisions(self) -> Iterator[CacheDecision]:
        seed_orders = 1 if self.training.data_seed is not None else len(self.spec.seeds)
        for teacher, totals in self.totals.items():
            orders = seed_orders if totals.teachers == 1 else 1  # each of several teachers serves the runs of one seed
            fresh = {reason: tuple(labels) for reason, labels in totals.fresh.items()}
            rows, size = tuple(totals.cached), totals.bytes / GB
            yield CacheDecision(self.task, teacher, rows, size, totals.epochs, orders, fresh, totals.teachers)


def _cacheable_outputs(job: RunJob) -> Iterator[tuple[int, TeacherJob, frozenset[str]]]:
    """Yield index, teacher and outputs to cache for runs like `job`.

    A layer mapping may depend on the seed: the outputs are those of the seeds 1 to `SEEDS`, whatever the suite's are.
    """
    seeded = [replace(job, method=rebound(job.method, seed=seed)) for seed in range(1, SEEDS + 1)]
    for index, teacher in enumerate(job.teachers):
        yield index, teacher, stored_for(name for each in seeded for name in each.needs(index))


def _cache_id(job: RunJob, teacher: TeacherJob) -> tuple[str, ...]:
    """Return the id of the cached outputs: rows with equal ids share them."""
    return teacher.key, teacher.tokenizer_ref.encoding_id(job.tokenizer_ref.fingerprint), job.tokenizer_ref.fingerprint


def _epochs(job: RunJob) -> float:
    """Return the passes over the data in which teacher outputs are needed."""
    return float(sum(planned.epochs for planned in planned_stages(job) if any(planned.stage.needs.teachers)))


def _estimate_size(data: TaskData, tokenizer_ref: TokenizerRef, max_length: int) -> Size:
    """Estimate the size from evenly spaced examples. It is exact if there are at most `SAMPLE`."""
    task = data.task
    described = [task.name, task.kind, task.paired, list(task.labels), dict(task.key_parts)]
    inputs = [*described, data.train_fingerprint, tokenizer_ref.fingerprint, max_length]
    return derived("token_counts", inputs, Size, lambda: _counted(data, tokenizer_ref, max_length))


def _counted(data: TaskData, tokenizer_ref: TokenizerRef, max_length: int) -> Size:
    train = data.splits.train
    chosen = sorted({index * len(train) // SAMPLE for index in range(SAMPLE)})
    encoded = encode(train.select(chosen), data.task, tokenizer_ref.tokenizer, max_length)
    scale = len(train) / len(chosen)
    return Size(rows=len(encoded) * scale, tokens=float(encoded.lengths.sum()) * scale)


def _flops_per_token(shape: ModelShape) -> float:
    """Return the FLOPs of one token: a multiplication and an addition for each weight of the layers."""
    return 2.0 * shape.layers * (4 * shape.hidden**2 + 2 * shape.hidden * shape.ffn)
