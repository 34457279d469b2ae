"""Layer mappings: which teacher layers each student layer learns from. Layers are counted from 1."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from harness.api.errors import Problem, UserError
from harness.api.lazy_torch import torch
from harness.api.wording import counted

if TYPE_CHECKING:
    from torch import Tensor

LayerMapping = Literal["uniform", "first", "last", "random", "mean"] | list[Annotated[int, Field(ge=1)]]
"""How L_S student layers map to L_T teacher layers.

``uniform``: every (L_T / L_S)-th layer; ``first``, ``last``: the first or last L_S layers; ``random``: a sorted random
choice, drawn from the run's seed; ``mean``: the mean of each of L_S equal consecutive blocks; or a list with a teacher
layer for each student layer.
"""

LayerMap = tuple[tuple[int, ...], ...]
"""For each student layer, the teacher layers whose mean it learns from: one layer, unless the mapping is ``mean``."""


def layer_map(mapping: LayerMapping, student_layers: int, teacher_layers: int, seed: int) -> LayerMap:
    """The teacher layers for student layers 1 to L_S.

    Raises:
        UserError: the mapping does not fit the layer counts; the message names both.
    """
    problem = check(mapping, student_layers, teacher_layers)
    if problem:
        raise UserError(problem)
    layers = range(1, student_layers + 1)
    block = teacher_layers // student_layers
    if isinstance(mapping, list):
        return tuple((layer,) for layer in mapping)
    if mapping == "uniform":
        return tuple((m * block,) for m in layers)
    if mapping == "first":
        return tuple((m,) for m in layers)
    if mapping == "last":
        return tuple((m + teacher_layers - student_layers,) for m in layers)
    if mapping == "random":
        # SeededChoice would draw other layers, under the keys of runs that have these; a test pins the draw instead.
        drawn = random.Random(f"layer mapping {seed}").sample(range(1, teacher_layers + 1), student_layers)
        return tuple((layer,) for layer in sorted(drawn))
    return tuple(tuple(range((m - 1) * block + 1, m * block + 1)) for m in layers)


def check(mapping: LayerMapping, student_layers: int, teacher_layers: int) -> Problem | None:
    """Why the mapping does not fit the layer counts, or None if it does."""
    counts = f"the student has {counted(student_layers, 'layer')}, the teacher {teacher_layers}"
    if isinstance(mapping, list):
        if len(mapping) != student_layers:
            return Problem(f"mapping {mapping} needs an entry for each student layer, found {len(mapping)}: {counts}")
        invalid = [layer for layer in mapping if not 1 <= layer <= teacher_layers]
        return Problem(f"mapping {mapping} names teacher layer {invalid[0]}: {counts}") if invalid else None
    if mapping in ("uniform", "mean") and teacher_layers % student_layers:
        return Problem(f"mapping {mapping!r} needs a teacher depth that is a multiple of the student's: {counts}")
    if student_layers > teacher_layers:
        return Problem(f"mapping {mapping!r} needs a student that is not deeper than the teacher: {counts}")
    return None


def gather(tensors: Mapping[int, Tensor], sources: Sequence[int]) -> Tensor:
    """The mean of the tensors of the layers `sources`; for one layer the tensor itself, without a copy."""
    if len(sources) == 1:
        return tensors[sources[0]]
    return torch.stack([tensors[layer] for layer in sources]).mean(0)
