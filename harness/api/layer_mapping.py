"""Which teacher layers a student layer learns from. Layers are counted from 1."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.api.errors import Problem, UserError

LayerMapping = Literal["uniform", "first", "last", "random", "mean"] | list[Annotated[int, Field(ge=1)]]
"""``uniform``: every (L_T / L_S)-th; ``first``, ``last``: that many; ``random``: a sorted random choice, drawn from the
run's seed; ``mean``: the mean of each of L_S equal consecutive blocks; or a list with one for each student layer."""

LayerMap = tuple[tuple[int, ...], ...]
"""For each student layer the teacher layers whose mean it learns from; one, unless the mapping is ``mean``."""


def layer_map(mapping: LayerMapping, student_layers: int, teacher_layers: int, seed: int) -> LayerMap:
    """The teacher layers of student layers 1..L_S.

    Raises:
        UserError: the layer counts do not allow the mapping; the message names both.
    """
    problem = check(mapping, student_layers, teacher_layers)
    if problem:
        raise UserError(problem)
    every = range(1, student_layers + 1)
    block = teacher_layers // student_layers
    if isinstance(mapping, list):
        return tuple((layer,) for layer in mapping)
    if mapping == "uniform":
        return tuple((m * block,) for m in every)
    if mapping == "first":
        return tuple((m,) for m in every)
    if mapping == "last":
        return tuple((m + teacher_layers - student_layers,) for m in every)
    if mapping == "random":
        drawn = random.Random(f"layer mapping {seed}").sample(range(1, teacher_layers + 1), student_layers)
        return tuple((layer,) for layer in sorted(drawn))
    return tuple(tuple(range((m - 1) * block + 1, m * block + 1)) for m in every)


def check(mapping: LayerMapping, student_layers: int, teacher_layers: int) -> Problem | None:
    """Why the layer counts do not allow the mapping, or None."""
    counts = f"the student has {student_layers} layers, the teacher {teacher_layers}"
    if isinstance(mapping, list):
        if len(mapping) != student_layers:
            return Problem(
                f"mapping {mapping} names {len(mapping)} layers, one for each student layer is needed: {counts}"
            )
        beyond = [layer for layer in mapping if not 1 <= layer <= teacher_layers]
        return Problem(f"mapping {mapping} names layer {beyond[0]}: {counts}") if beyond else None
    if mapping in ("uniform", "mean") and teacher_layers % student_layers:
        return Problem(f"mapping {mapping!r} needs a teacher depth that is a multiple of the student's: {counts}")
    if student_layers > teacher_layers:
        return Problem(f"mapping {mapping!r} needs a student that is not deeper than the teacher: {counts}")
    return None


def gather(tensors: Mapping[int, Tensor], sources: Sequence[int]) -> Tensor:
    """The mean of the named layers' tensors; the tensor itself where there is one."""
    if len(sources) == 1:
        return tensors[sources[0]]
    return torch.stack([tensors[layer] for layer in sources]).mean(0)
