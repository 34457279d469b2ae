"""Estimate the device memory that training takes, from sizes that are known before it starts.

The students of a cohort take their steps one after another, unless `training.execution` is fused, so for a cohort:

    peak      = resident + max(teacher pass, largest step)
    resident  = for each run its weights and AdamW's two moments, 3 x 4 bytes a parameter, and the weights of its best
                epoch, if it stores them and the device shares the machine's memory, and a moving average if a stage
                keeps one; for each teacher its weights
    pass      = the working memory of a teacher's layer, and the requested outputs
    step      = these outputs, the student's gradients (4 bytes a parameter), its activations, the tensors that its
                losses save for the backward pass, and the working memory of the backward pass; in a live stage the
                activations of one more pass of the student and of one of each teacher
    stack     = for each of the runs that step together its part of a step that is shared, gradients and activations,
                and what one of them adds for its losses; it takes the place of the largest step if it is larger

All batches count as full: `batch_size` examples of `max_length` tokens, or `token_budget` tokens. Every encoder counts
as BERT; one that shares its layers (ALBERT) takes less. The memory of the process itself is not counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from harness.api.model_outputs import ModelShape
from harness.config.training_schema import TrainingSpec
from harness.models.output_names import parse
from harness.planning import free_memory

MARGIN = 0.1
"""Fraction of the memory reserved for what is not counted: the process, fragmentation, workspaces of kernels."""

POSITIONS = 512
FLOAT = 4


@dataclass(frozen=True)
class BatchShape:
    """The shape of a cohort's batches.

    Attributes:
        examples: examples per batch.
        tokens: tokens per example.
        vocabulary: size of the tokenizer's vocabulary.
        outputs: elements of the logits for one example.
    """

    examples: int
    tokens: int
    vocabulary: int
    outputs: int


class StageLoad(NamedTuple):
    """What a stage adds to the memory of a run.

    Attributes:
        requested: the student's outputs that the stage reads.
        splits: whether its batches may be split.
        live: whether its method runs the student again and the teachers, with gradients.
        average: whether an average of the student's weights is kept.
    """

    requested: frozenset[str]
    splits: bool
    live: bool = False
    average: bool = False


@dataclass(frozen=True)
class Load:
    """The memory that one run adds to a cohort.

    Attributes:
        resident: bytes that it takes at all times.
        step: additional bytes while it takes a step.
        teachers: key -> shape of each of its teachers, and the outputs it requests.
        batch_shape: the shape of its batches.
        half: whether it computes in half precision.
        student: the shape of its student.
        stacked: bytes of `step` that the runs of a stack hold at the same time; 0: it steps alone.
    """

    resident: int
    step: int
    teachers: Mapping[str, tuple[ModelShape, frozenset[str]]]
    batch_shape: BatchShape
    half: bool
    student: ModelShape
    stacked: int = 0


def load(
    student: ModelShape,
    stages: Iterable[StageLoad],
    teachers: Mapping[str, tuple[ModelShape, frozenset[str]]],
    batch_shape: BatchShape,
    training: TrainingSpec,
    *,
    fused: bool,
    copied: bool = False,
) -> Load:
    """Return the load of a run.

    Args:
        stages: its stages.
        teachers: key -> shape of each teacher, and the outputs that any stage requests.
        fused: whether attention with dropout saves no N x N map, as on a GPU.
        copied: whether a copy of the student's weights is stored in the same memory.
    """
    half, together = training.precision != "fp32", training.execution == "fused"
    parameter_count = parameters(student, batch_shape.vocabulary)
    step, stacked, concatenated, averaged = 0, 0, False, False
    shapes = [shape for shape, _ in teachers.values()]
    for stage in stages:
        averaged |= stage.average
        concatenated |= training.batching == "grouped" and not stage.splits
        in_stack = together and not stage.live
        examples = min(batch_shape.examples, (stage.splits and training.micro_batch_size) or batch_shape.examples)
        micro_batch = replace(batch_shape, examples=examples)
        passes = _passes(student, stage, shapes, micro_batch, half=half, fused=fused, in_stack=in_stack)
        step, stacked = max(step, passes), max(stacked, passes * in_stack)
    teacher_outputs = sum(captured(names, shape, batch_shape, half) for shape, names in teachers.values())
    # A batch-dependent stage also concatenates the outputs of all groups to one batch.
    step += (2 + concatenated) * teacher_outputs
    # Autocast keeps a copy of the weights for the step.
    gradients = (FLOAT + 2 * half) * parameter_count
    resident = (3 + copied + averaged) * FLOAT * parameter_count
    together_bytes = gradients + stacked if stacked else 0
    return Load(resident, gradients + step, teachers, batch_shape, half, student, together_bytes)


def _passes(
    student: ModelShape,
    stage: StageLoad,
    teachers: Iterable[ModelShape],
    batch_shape: BatchShape,
    *,
    half: bool,
    fused: bool,
    in_stack: bool,
) -> int:
    """Return the bytes that the passes over a micro-batch take: what they save, and their largest working memory."""
    tokens = batch_shape.examples * batch_shape.tokens
    with_maps = stage.live or in_stack or not fused  # dropout of a stack is drawn for maps
    saved = activations(student, batch_shape, half=half, fused=not with_maps)
    saved += 2 * captured(stage.requested, student, batch_shape, half)
    if in_stack:  # the scale of norms is applied to a copy
        saved += 2 * FLOAT * student.layers * student.hidden * tokens
    if stage.live:  # counted as one more pass of the student, and one of each teacher
        saved += sum(activations(model, batch_shape, half=half, fused=False) for model in (student, *teachers))
    widest = max(student.ffn, student.heads * batch_shape.tokens * with_maps)
    return saved + 2 * FLOAT * tokens * widest


class _Steps(NamedTuple):
    """The memory of the steps of runs that train together.

    Attributes:
        largest: bytes of the largest step of a run alone.
        stacks: student shape -> bytes that the runs of its stack hold at the same time.
        alone: bytes that one run of a stack adds to these, at most.
    """

    largest: int = 0
    stacks: Mapping[ModelShape, int] = MappingProxyType({})
    alone: int = 0

    @property
    def peak(self) -> int:
        """The bytes of the largest step or stack."""
        return max(self.largest, max(self.stacks.values(), default=0) + self.alone)

    def with_one_more(self, load: Load) -> _Steps:
        """The memory with another run."""
        if not load.stacked:
            return self._replace(largest=max(self.largest, load.step))
        stacks = {**self.stacks, load.student: self.stacks.get(load.student, 0) + load.stacked}
        return _Steps(max(self.largest, load.step), stacks, max(self.alone, load.step - load.stacked))


class CohortLoad:
    """The memory of runs that train together, with their teachers. Runs are added one by one."""

    def __init__(self, first: Load) -> None:
        self._reading, self._half = first.batch_shape, first.half
        self._teachers: dict[str, tuple[ModelShape, frozenset[str]]] = {}
        self._resident = self._shared = self._working = 0
        self._steps = _Steps()
        self.add(first)

    @property
    def peak(self) -> int:
        """The peak memory in bytes."""
        return self._resident + self._shared + max(self._working, self._steps.peak)

    def peak_with(self, load: Load) -> int:
        """Return the peak memory in bytes with one more run."""
        shared, working = self._teacher_bytes(self._teachers_with(load))
        return self._resident + load.resident + shared + max(working, self._steps.with_one_more(load).peak)

    def add(self, load: Load) -> None:
        """Add a run."""
        teachers = self._teachers_with(load)
        self._shared, self._working = self._teacher_bytes(teachers)
        self._teachers = teachers
        self._resident += load.resident
        self._steps = self._steps.with_one_more(load)

    def _teachers_with(self, load: Load) -> dict[str, tuple[ModelShape, frozenset[str]]]:
        """Return shape and requested outputs of all teachers; the same object if the run requests nothing new."""
        known = self._teachers
        added = {
            key: (shape, names | known[key][1] if key in known else names)
            for key, (shape, names) in load.teachers.items()
            if key not in known or not names <= known[key][1]
        }
        return known | added if added else known

    def _teacher_bytes(self, teachers: dict[str, tuple[ModelShape, frozenset[str]]]) -> tuple[int, int]:
        """Return the bytes of weights and outputs of all teachers, and the working memory of their largest layer."""
        if teachers is self._teachers:
            return self._shared, self._working
        weights = sum(FLOAT * parameters(shape, self._reading.vocabulary) for shape, _ in teachers.values())
        outputs = sum(captured(names, shape, self._reading, self._half) for shape, names in teachers.values())
        working = max((_working_bytes(shape, self._reading) for shape, _ in teachers.values()), default=0)
        return weights + outputs, working


def peak(loads: Sequence[Load]) -> int:
    """Return the peak memory in bytes of runs that train together, with their teachers."""
    cohort = CohortLoad(loads[0])
    for load in loads[1:]:
        cohort.add(load)
    return cohort.peak


def parameters(shape: ModelShape, vocabulary: int) -> int:
    """Return the number of parameters of a BERT encoder with its pooler.

    These are the embeddings and, in each layer, four matrices of hidden x hidden, two of the FFN, their biases and two
    norms.
    """
    hidden, ffn = shape.hidden, shape.ffn
    embeddings = (vocabulary + POSITIONS + 2 + 2) * hidden
    layer = 4 * hidden * (hidden + 1) + 2 * hidden * ffn + ffn + hidden + 4 * hidden
    return embeddings + shape.layers * layer + hidden * (hidden + 1)


def activations(shape: ModelShape, batch_shape: BatchShape, *, half: bool, fused: bool) -> int:
    """Return the bytes of activations that the forward pass saves for the backward pass.

    Per token and layer: queries, keys, values, context and its copy, two dropout masks (7 H) and the FFN before and
    after its activation (2 F) in the precision of the products, in half precision with copies of their two inputs
    (2 H); the inputs and outputs of two norms and two residual sums (6 H) in float32. Attention that is not fused
    also saves scaled queries and keys, and three maps of A x N per token: the softmax, its dropout mask and their
    product, in float32. The embeddings save about five tensors.
    """
    hidden, ffn, tokens = shape.hidden, shape.ffn, batch_shape.examples * batch_shape.tokens
    products = (9 * hidden + 2 * ffn) * 2 if half else (7 * hidden + 2 * ffn) * FLOAT
    maps = 0 if fused else (2 * hidden + 3 * shape.heads * batch_shape.tokens) * FLOAT
    layer = products + maps + 6 * hidden * FLOAT
    return tokens * (shape.layers * layer + 5 * hidden * FLOAT)


def captured(needs: Collection[str], shape: ModelShape, batch_shape: BatchShape, half: bool) -> int:
    """Return the bytes of the outputs named in `needs`."""
    tokens = batch_shape.examples * batch_shape.tokens
    sizes = {"logits": batch_shape.examples * batch_shape.outputs, "pooled": batch_shape.examples * shape.hidden}
    sizes |= {"scores": tokens * shape.heads * batch_shape.tokens}
    numbers = sum(sizes.get(need.name, tokens * shape.hidden) for need in filter(None, map(parse, needs)))
    return numbers * (2 if half else FLOAT)


def _working_bytes(shape: ModelShape, batch_shape: BatchShape) -> int:
    """Return the bytes of a layer without gradients: about eight tensors of the hidden size, and two of the FFN's."""
    return batch_shape.examples * batch_shape.tokens * (8 * shape.hidden + 2 * shape.ffn) * FLOAT


def room(device: str, max_gb: float | None) -> int:
    """Return the bytes that a cohort may take: the suite's limit, or the device's free memory less a margin."""
    return int(free_memory.on(device) * (1 - MARGIN)) if max_gb is None else int(max_gb * 1e9)
