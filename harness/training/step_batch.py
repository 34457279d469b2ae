"""The examples of one training step, whole and in groups of similar length, and teacher outputs on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from harness.api.batch import Batch, TaskKind
from harness.api.model_outputs import LAYERED, Layered, ModelOutputs

Cut = tuple[slice, int]
"""A group: its rows within the batch, and the tokens of its longest row."""


@dataclass(frozen=True)
class StepBatch:
    """The examples of one step as each reader tokenizes them.

    Attributes:
        batches: by reader, all rows, padded to the longest.
        cuts: by reader, the groups; they have the same rows for all readers.
        tokens: real tokens of the students' batch.
    """

    batches: Mapping[str, Batch]
    cuts: Mapping[str, Sequence[Cut]]
    tokens: int

    def whole(self, reader: str) -> Batch:
        """All rows, padded to the longest."""
        return self.batches[reader]

    def groups(self, reader: str) -> list[Batch]:
        """The groups in order, each padded to its own longest row: views of the whole batch."""
        return [self.batches[reader].part(rows, tokens) for rows, tokens in self.cuts[reader]]

    def to(self, device: torch.device) -> StepBatch:
        """The same on `device`."""
        return self._each(lambda batch: batch.to(device))

    def pinned(self) -> StepBatch:
        """The same in pinned memory."""
        return self._each(Batch.pin_memory)

    def _each(self, change: Callable[[Batch], Batch]) -> StepBatch:
        return replace(self, batches={reader: change(batch) for reader, batch in self.batches.items()})


@dataclass(frozen=True)
class TeacherOutputs:
    """What one teacher computed on the groups of a step, and the same joined to the whole batch, where a run that
    needs the whole batch reads it."""

    groups: list[ModelOutputs]
    whole: ModelOutputs | None = None

    def tensors(self) -> list[torch.Tensor]:
        """All tensors there are."""
        whole = [self.whole] if self.whole is not None else []
        return [tensor for each in (*self.groups, *whole) for tensor in each.tensors()]


def join_groups(groups: Sequence[ModelOutputs], tokens: int, kind: TaskKind) -> ModelOutputs:
    """The outputs of all groups as those of the whole batch of `tokens` tokens. Beyond a group's longest row there are
    zeros, and the lowest value in the logits of extractive QA."""
    return ModelOutputs.joined([_padded(group, tokens, kind) for group in groups])


TOKEN_AXES: Mapping[str, Sequence[int]] = {
    "hidden": (1,),
    "context": (1,),
    "queries": (2,),
    "keys": (2,),
    "values": (2,),
    "scores": (2, 3),
}
LOGITS_AXES: Mapping[TaskKind, Sequence[int]] = {"qa": (2,), "text": (1,)}


def _padded(tensors: ModelOutputs, tokens: int, kind: TaskKind) -> ModelOutputs:
    def pad(tensor: torch.Tensor, axes: Sequence[int], value: float = 0.0) -> torch.Tensor:
        widths = [(0, tokens - size if axis in axes else 0) for axis, size in enumerate(tensor.shape)]
        return F.pad(tensor, [width for pair in reversed(widths) for width in pair], value=value)

    logits, embeddings = tensors._logits, tensors._embeddings
    if logits is not None:
        lowest = torch.finfo(logits.dtype).min if kind == "qa" else 0.0
        logits = pad(logits, LOGITS_AXES.get(kind, ()), lowest)
    layered = [
        Layered(name, {i: pad(t, TOKEN_AXES[name]) for i, t in getattr(tensors, name).items()}) for name in LAYERED
    ]
    embeddings = pad(embeddings, (1,)) if embeddings is not None else None
    return ModelOutputs(logits, tensors._pooled, embeddings, *layered)
