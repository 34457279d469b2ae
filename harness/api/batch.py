"""A padded batch of examples: the input of `Method.losses`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from harness.api.lazy_torch import torch

if TYPE_CHECKING:
    from torch import Tensor


TaskKind = Literal["classification", "multilabel", "regression", "token_classification", "qa", "text"]
"""``text`` is unlabelled text, for distillation before any task; the others are the kinds of tasks."""

IGNORED = -100
"""The label of a token that losses and scores ignore."""

NOT_MASKED = IGNORED
"""The label of a token of unlabelled text that is not masked."""

TOKEN_LABELS: frozenset[TaskKind] = frozenset({"token_classification", "text"})
"""Kinds whose labels, [B, N], and logits, [B, N, C], are per token."""

MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""Tensors of a batch that are passed to models."""


@dataclass(frozen=True)
class Batch:
    """B examples, padded to N tokens.

    Attributes:
        kind: the kind of task, which determines the meaning of `labels`.
        ids: the ids of the B examples (for token classification and QA of the windows).
        inputs: the model inputs, int64 [B, N]: ``input_ids``, ``attention_mask``, and ``token_type_ids`` if the model
            has them.
        labels: classification int64 [B]; multilabel float [B, C], 1 for the classes of the example, else 0; regression
            float [B], standardized if those of the task are; token classification int64 [B, N], the class of a word at
            its first token, else `IGNORED` (in overlapping windows, a word has its label in one of them); QA int64
            [B, 2], first and last token of the answer, both 0 ([CLS]) in a window without the answer; text int64
            [B, N], the original token at masked positions, else `NOT_MASKED`.
        answer_mask: QA only, bool [B, N]: positions allowed for an answer ([CLS] and the context's tokens).
        rows: row numbers of the examples in the tokenized data set, B of them. An example has the same number in every
            epoch, so a method can keep state by example.
        word_ids: int64 [B, N]: index of the token's word in its sentence, -1 for special tokens and padding.
        class_weights: float [C]: weights of the classes in the task loss, whose mean over the labels of the training
            examples (multilabel: over the classes) is 1; None: all are 1.
    """

    kind: TaskKind
    ids: tuple[str, ...]
    inputs: Mapping[str, Tensor]
    labels: Tensor
    answer_mask: Tensor | None = None
    word_ids: Tensor | None = None
    rows: tuple[int, ...] = ()
    class_weights: Tensor | None = None

    @property
    def mask(self) -> Tensor:
        """Bool [B, N]: True at real tokens, False at padding."""
        return self.inputs["attention_mask"].bool()

    @property
    def lengths(self) -> Tensor:
        """Int64 [B]: number of real tokens of each example."""
        return self.inputs["attention_mask"].sum(-1)

    def tensors(self) -> list[Tensor]:
        """All tensors of the batch."""
        return [t for t in (*self.inputs.values(), self.labels, self.answer_mask, self.word_ids) if t is not None]

    def to(self, device: torch.device) -> Batch:
        """The batch on `device`."""
        return self._map_all(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in pinned memory, for asynchronous copies to a GPU."""
        return self._map_all(lambda tensor: tensor.pin_memory())

    def part(self, rows: slice, tokens: int | None = None) -> Batch:
        """The examples of `rows`, as views, with the padding unchanged or cut to the first `tokens` tokens."""
        part = replace(self._map(lambda tensor: tensor[rows]), ids=self.ids[rows], rows=self.rows[rows])
        if tokens is None or tokens == part.inputs["input_ids"].shape[1]:
            return part
        cut = part._map(lambda tensor: tensor[:, :tokens] if tensor.ndim > 1 else tensor)
        return cut if self.kind in TOKEN_LABELS else replace(cut, labels=part.labels)

    def _map_all(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with `function` applied to all tensors, also to those that are not by example."""
        mapped = self._map(function)
        return mapped if self.class_weights is None else replace(mapped, class_weights=function(self.class_weights))

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            inputs={name: function(tensor) for name, tensor in self.inputs.items()},
            labels=function(self.labels),
            answer_mask=None if self.answer_mask is None else function(self.answer_mask),
            word_ids=None if self.word_ids is None else function(self.word_ids),
        )

    @staticmethod
    def from_mapping(batch: Mapping[str, Tensor], kind: TaskKind | None = None) -> Batch:
        """Create a batch from tensors with the argument names of transformers.

        `batch` holds the model inputs and either ``labels`` or ``start_positions``, ``end_positions`` and
        ``answer_mask``. Without labels it is unmasked text. Without `kind`, the labels determine the kind of task:
        integers [B]: classification; floats [B] or [B, 1]: regression; floats [B, C]: multilabel; integers [B, N]:
        text. Token classification, whose labels have the form of those of text, must be named.
        """
        inputs = {name: batch[name] for name in MODEL_INPUTS if name in batch}
        rows = tuple(range(len(batch["input_ids"])))
        ids = tuple(map(str, rows))
        word_ids = batch.get("word_ids")
        if "start_positions" in batch:
            labels = torch.stack([batch["start_positions"], batch["end_positions"]], dim=1)
            return Batch("qa", ids, inputs, labels, batch["answer_mask"].bool(), word_ids, rows)
        labels = batch.get("labels", torch.full_like(batch["input_ids"], NOT_MASKED))
        if labels.shape == batch["input_ids"].shape and not labels.is_floating_point():
            return Batch(kind or "text", ids, inputs, labels, word_ids=word_ids, rows=rows)
        if kind == "multilabel" or (labels.is_floating_point() and labels.numel() > len(rows)):
            return Batch("multilabel", ids, inputs, labels, word_ids=word_ids, rows=rows)
        if labels.is_floating_point():
            return Batch("regression", ids, inputs, labels.reshape(-1), word_ids=word_ids, rows=rows)
        return Batch("classification", ids, inputs, labels.reshape(-1), word_ids=word_ids, rows=rows)
