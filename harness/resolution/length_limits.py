"""Rows longer than a model has positions for, found before any training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.config.diagnostics import Diagnostics
from harness.config.yaml_tree import KeyPath
from harness.models.families import scratch_positions
from harness.resolution.suite import MethodVariant, Suite

SCRATCH = "from scratch"
"""The reader of all teachers from scratch: their tokenizer is made of the task's texts."""

TRAINING: KeyPath = ("training", "max_length")


@dataclass(frozen=True)
class InputLimits:
    """What a model reads: at most so many tokens (None: any number), by the tokenizer with this fingerprint (None where
    only a hub could tell)."""

    most: int | None
    reader: str | None


def note(suite: Suite, known: Mapping[str, InputLimits], diagnostics: Diagnostics) -> None:
    """Add a finding for each length that a model has no positions for. `known` are the teachers and students of which
    that is known."""
    spec = suite.spec
    reads = dict(known)
    for name, teacher in spec.teachers.items():
        own = teacher.max_length or spec.training.max_length
        if teacher.architecture is not None:
            reads[name] = InputLimits(scratch_positions(own), SCRATCH)
        _note(own, ("teachers", name, "max_length") if teacher.max_length else TRAINING, name, reads, diagnostics)
    for variant in suite.variants:
        for student in variant.students:
            for name in dict.fromkeys(_readers(suite, variant, student, reads)):
                _note(spec.training.max_length, TRAINING, name, reads, diagnostics)
                if spec.general and variant.general:
                    _note(spec.general.max_length, ("general", "max_length"), name, reads, diagnostics)


def _readers(suite: Suite, variant: MethodVariant, student: str, reads: Mapping[str, InputLimits]) -> Iterator[str]:
    """The student, or the teacher that it is made like; and those of its teachers that read the very same rows."""
    first = next(iter(suite.spec.teachers), None)
    own = student if student in suite.models else first
    if own is None or own not in reads:
        return
    yield own
    for name in variant.teachers:
        if name in reads and reads[name].reader is not None and reads[name].reader == reads[own].reader:
            yield name


def _note(tokens: int, path: KeyPath, name: str, reads: Mapping[str, InputLimits], diagnostics: Diagnostics) -> None:
    most = reads[name].most if name in reads else None
    if most is not None and tokens > most:
        diagnostics.add(path, f"it is {tokens}, but {name} reads at most {most} tokens; lower it")
