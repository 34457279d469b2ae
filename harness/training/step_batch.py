"""The examples of one training step, as a whole batch and in groups of similar length, with teacher outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from harness.api.batch import Batch, TaskKind
from harness.api.model_outputs import LAYERED, Layered, ModelOutputs

GroupSlice = tuple[slice, int]
"""A group of a batch: its rows within the batch, and the number of tokens of its longest row."""


@dataclass(frozen=True)
class StepBatch:
    """The examples of one step, tokenized by each tokenizer of the cohort.

    Attributes:
        batches: by tokenizer fingerprint, all rows, padded to the longest.
        group_slices: by tokenizer fingerprint, the groups. They have the same rows for all tokenizers.
        tokens: number of real tokens in the students' batch.
    """

    batches: Mapping[str, Batch]
    group_slices: Mapping[str, Sequence[GroupSlice]]
    tokens: int

    def whole(self, tokenizer_id: str) -> Batch:
        """All rows, padded to the longest."""
        return self.batches[tokenizer_id]

    def groups(self, tokenizer_id: str) -> list[Batch]:
        """The groups in order, each padded to its own longest row: views of the whole batch."""
        return [self.batches[tokenizer_id].part(rows, tokens) for rows, tokens in self.group_slices[tokenizer_id]]

    def to(self, device: torch.device) -> StepBatch:
        """A copy on `device`."""
        return self._map(lambda batch: batch.to(device))

    def pinned(self) -> StepBatch:
        """A copy in pinned memory."""
        return self._map(Batch.pin_memory)

    def _map(self, function: Callable[[Batch], Batch]) -> StepBatch:
        return replace(self, batches={name: function(batch) for name, batch in self.batches.items()})


@dataclass(frozen=True)
class TeacherOutputs:
    """One teacher's outputs on the groups of a step. `whole`: the same joined, if a run needs the whole batch."""

    groups: list[ModelOutputs]
    whole: ModelOutputs | None = None

    def tensors(self) -> list[torch.Tensor]:
        """All tensors."""
        whole = [self.whole] if self.whole is not None else []
        return [tensor for outputs in (*self.groups, *whole) for tensor in outputs.tensors()]


def join_groups(groups: Sequence[ModelOutputs], tokens: int, kind: TaskKind) -> ModelOutputs:
    """Join the outputs of all groups to those of the whole batch, padded to `tokens` tokens.

    Padding is zero, but the lowest finite value in the logits of extractive QA.
    """
    return ModelOutputs.joined([_padded(group, tokens, kind) for group in groups])


# Axes of the tokens, by output; for logits by the kind of task.
TOKEN_AXES: Mapping[str, Sequence[int]] = {
    "hidden": (1,),
    "context": (1,),
    "queries": (2,),
    "keys": (2,),
    "values": (2,),
    "scores": (2, 3),
}
LOGITS_AXES: Mapping[TaskKind, Sequence[int]] = {"qa": (2,), "token_classification": (1,), "text": (1,)}


def _padded(outputs: ModelOutputs, tokens: int, kind: TaskKind) -> ModelOutputs:
    def pad(tensor: torch.Tensor, axes: Sequence[int], value: float = 0.0) -> torch.Tensor:
        widths = [(0, tokens - size if axis in axes else 0) for axis, size in enumerate(tensor.shape)]
        return F.pad(tensor, [width for pair in reversed(widths) for width in pair], value=value)

    logits, embeddings = outputs._logits, outputs._embeddings
    if logits is not None:
        lowest = torch.finfo(logits.dtype).min if kind == "qa" else 0.0
        logits = pad(logits, LOGITS_AXES.get(kind, ()), lowest)
    layered = [
        Layered(name, {i: pad(t, TOKEN_AXES[name]) for i, t in getattr(outputs, name).items()}) for name in LAYERED
    ]
    embeddings = pad(embeddings, (1,)) if embeddings is not None else None
    return ModelOutputs(logits, outputs._pooled, embeddings, *layered)
