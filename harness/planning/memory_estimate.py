"""What training takes of a device's memory: an estimate from numbers that are known before it begins.

Of a cohort, whose students take their steps one after another:

    peak      = resident + max(teacher pass, largest step)
    resident  = of each run its weights and AdamW's two moments, 3 x 4 bytes a parameter, and the weights of its best
                epoch, if it keeps them and the device has no memory of its own; of each teacher its weights
    pass      = what a teacher's layer works on, and the tensors that are asked for
    step      = these tensors, the student's gradients (4 bytes a parameter), its activations, what its losses keep, and
                what the backward pass works on

Batches are taken as full: `batch_size` examples of `max_length` tokens, or `token_budget` tokens. Encoders are counted
as BERT's; one that shares its layers (ALBERT) takes less. What the process itself takes is not counted.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.api.model_outputs import ModelShape
from harness.config.schema import TrainingSpec
from harness.models.output_names import parse

MARGIN = 0.1
"""Of the memory, for all that is not counted: the process, fragments, what kernels borrow."""

POSITIONS = 512
FLOAT = 4


@dataclass(frozen=True)
class Reading:
    """The batches that a cohort sees: their shape, and how many numbers a model's logits are for one example.
    `vocabulary` is that of whoever reads them."""

    batch: int
    tokens: int
    vocabulary: int
    outputs: int


@dataclass(frozen=True)
class Load:
    """What one run brings into a cohort, in bytes: all the time, and while it takes a step. `teachers` are those it
    reads, by key, with what it asks of them."""

    resident: int
    step: int
    teachers: Mapping[str, tuple[ModelShape, frozenset[str]]]
    reading: Reading
    half: bool


def load(
    student: ModelShape,
    stages: Iterable[tuple[frozenset[str], bool]],
    teachers: Mapping[str, tuple[ModelShape, frozenset[str]]],
    reading: Reading,
    training: TrainingSpec,
    *,
    fused: bool,
    copied: bool = False,
) -> Load:
    """Of a run.

    Args:
        stages: what each asks of the student, and whether its batches may be split.
        teachers: by key, with all that any stage asks of them.
        fused: whether attention with dropout keeps no N x N map, as on a GPU.
        copied: whether a copy of its weights is kept in the same memory.
    """
    half = training.precision != "fp32"
    count = parameters(student, reading.vocabulary)
    step, joined = 0, False
    for asked, splits in stages:
        joined |= training.batching == "grouped" and not splits
        part = min(reading.batch, training.micro_batch_size or reading.batch) if splits else reading.batch
        seen = Reading(part, reading.tokens, reading.vocabulary, reading.outputs)
        kept = activations(student, seen, half=half, fused=fused) + 2 * captured(asked, student, seen, half)
        backward = 2 * FLOAT * part * reading.tokens * max(student.ffn, student.heads * reading.tokens * (not fused))
        step = max(step, kept + backward)
    taught = sum(captured(names, shape, reading, half) for shape, names in teachers.values())
    step += FLOAT * count + (2 + joined) * taught  # joined: a stage reads the outputs of all groups as one batch
    if half:
        step += 2 * count  # autocast keeps a copy of the weights for the step
    return Load((3 + copied) * FLOAT * count, step, teachers, reading, half)


def peak(loads: Sequence[Load]) -> int:
    """Bytes that the runs take together, with their teachers."""
    teachers: dict[str, tuple[ModelShape, frozenset[str]]] = {}
    for load in loads:
        for key, (shape, names) in load.teachers.items():
            teachers[key] = shape, names | teachers.get(key, (shape, frozenset()))[1]
    reading, half = loads[0].reading, loads[0].half
    weights = sum(FLOAT * parameters(shape, reading.vocabulary) for shape, _ in teachers.values())
    asked = sum(captured(names, shape, reading, half) for shape, names in teachers.values())
    working = max((_working(shape, reading) for shape, _ in teachers.values()), default=0)
    return sum(load.resident for load in loads) + weights + asked + max(working, *(load.step for load in loads))


def parameters(shape: ModelShape, vocabulary: int) -> int:
    """Of a BERT encoder with its pooler: embeddings, then for each layer four products of the width, two with the FFN,
    their biases and two norms."""
    hidden, ffn = shape.hidden, shape.ffn
    embeddings = (vocabulary + POSITIONS + 2 + 2) * hidden
    layer = 4 * hidden * (hidden + 1) + 2 * hidden * ffn + ffn + hidden + 4 * hidden
    return embeddings + shape.layers * layer + hidden * (hidden + 1)


def activations(shape: ModelShape, reading: Reading, *, half: bool, fused: bool) -> int:
    """What the forward pass keeps for the backward pass, in bytes.

    A token of a layer: queries, keys, values, context and its copy, two dropout masks (7 H) and the FFN before and
    after its activation (2 F) in the precision of the products, in half precision with copies of their two inputs
    (2 H); the inputs and outputs of two norms and two residual sums (6 H) in float32. Attention that is not fused
    also keeps scaled queries and keys, and three maps of A x N a token: the softmax, its dropout mask and their
    product, in float32. The embeddings keep about five tensors.
    """
    hidden, ffn, tokens = shape.hidden, shape.ffn, reading.batch * reading.tokens
    products = (9 * hidden + 2 * ffn) * 2 if half else (7 * hidden + 2 * ffn) * FLOAT
    maps = 0 if fused else (2 * hidden + 3 * shape.heads * reading.tokens) * FLOAT
    layer = products + maps + 6 * hidden * FLOAT
    return tokens * (shape.layers * layer + 5 * hidden * FLOAT)


def captured(needs: Collection[str], shape: ModelShape, reading: Reading, half: bool) -> int:
    """The tensors named, in bytes."""
    tokens = reading.batch * reading.tokens
    sizes = {"logits": reading.batch * reading.outputs, "pooled": reading.batch * shape.hidden}
    sizes |= {"scores": tokens * shape.heads * reading.tokens}
    numbers = sum(sizes.get(need.name, tokens * shape.hidden) for need in filter(None, map(parse, needs)))
    return numbers * (2 if half else FLOAT)


def _working(shape: ModelShape, reading: Reading) -> int:
    """Of a layer without gradients: about eight tensors of the width, and the FFN twice."""
    return reading.batch * reading.tokens * (8 * shape.hidden + 2 * shape.ffn) * FLOAT


def room(device: str, max_gb: float | None) -> int:
    """Bytes that a cohort may take: what the suite says, or what the device has free, less a margin."""
    if max_gb is not None:
        return int(max_gb * 1e9)
    kind = torch.device(device).type
    if kind == "cuda":
        there = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    elif kind == "mps":
        there = torch.mps.recommended_max_memory()
    else:
        there = available()
    return int(there * (1 - MARGIN))


def available() -> int:
    """Bytes of the machine's memory that a process can have without swapping, as far as the system tells; no more than
    its container may have."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo, limit = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        there = int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else there
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        there = min(there, int(text))
    return there
