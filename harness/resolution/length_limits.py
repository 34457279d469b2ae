"""Checks each `max_length` against the number of positions of the models, before any training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.config.diagnostics import Diagnostics
from harness.config.yaml_tree import KeyPath
from harness.models.families import scratch_positions
from harness.resolution.suite import MethodVariant, Suite

SCRATCH = "from scratch"
"""Tokenizer fingerprint of all teachers trained from scratch: their tokenizer is trained on the task's texts."""

TRAINING: KeyPath = ("training", "max_length")


@dataclass(frozen=True)
class InputLimits:
    """Input limits of a model.

    `max_tokens`: its number of positions; None: unlimited. `tokenizer`: the fingerprint of its tokenizer; None if the
    files are on the hub.
    """

    max_tokens: int | None
    tokenizer: str | None


def check_lengths(suite: Suite, known: Mapping[str, InputLimits], diagnostics: Diagnostics) -> None:
    """Report each `max_length` that exceeds the positions of a model.

    `known` has the limits of the teachers and students whose configuration could be read.
    """
    spec = suite.spec
    limits = dict(known)
    for name, teacher in spec.teachers.items():
        if teacher.row is not None:  # checked as a student
            continue
        max_length = teacher.max_length or spec.training.max_length
        if teacher.architecture is not None:
            limits[name] = InputLimits(scratch_positions(max_length), SCRATCH)
        path = ("teachers", name, "max_length") if teacher.max_length else TRAINING
        _check(max_length, path, name, limits, diagnostics)
    for variant in suite.variants:
        for student in variant.students:
            for name in dict.fromkeys(_input_models(suite, variant, student, limits)):
                _check(spec.training.max_length, TRAINING, name, limits, diagnostics)
                if spec.general and variant.general:
                    _check(spec.general.max_length, ("general", "max_length"), name, limits, diagnostics)


def _input_models(
    suite: Suite, variant: MethodVariant, student: str, limits: Mapping[str, InputLimits]
) -> Iterator[str]:
    """Yield the models that read the student's rows: its own model or the first teacher, and teachers that share
    the tokenizer."""
    first_teacher = suite.spec.first_teacher
    model = student if student in suite.models else first_teacher
    if model is None or model not in limits:
        return
    yield model
    tokenizer = limits[model].tokenizer
    for name in variant.teachers:
        if name in limits and tokenizer is not None and limits[name].tokenizer == tokenizer:
            yield name


def _check(
    max_length: int, path: KeyPath, name: str, limits: Mapping[str, InputLimits], diagnostics: Diagnostics
) -> None:
    max_tokens = limits[name].max_tokens if name in limits else None
    if max_tokens is not None and max_length > max_tokens:
        diagnostics.add(path, f"it is {max_length}, but {name} reads at most {max_tokens} tokens; lower it")
