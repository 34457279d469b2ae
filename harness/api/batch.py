"""A padded batch of examples, as methods see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

TaskKind = Literal["classification", "regression", "qa", "text"]
"""Of tasks, the first three; ``text`` is unlabelled, what a general stage reads before any task."""

NOT_MASKED = -100
"""The label of a token of unlabelled text that is not to be predicted."""


MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Batch:
    """B examples, padded to N tokens.

    Attributes:
        kind: what the labels mean.
        ids: the examples' ids, B of them (for QA the windows').
        inputs: the model's inputs, int64 [B, N]: ``input_ids``, ``attention_mask``, and ``token_type_ids`` where the
            model has them.
        labels: classification int64 [B]; regression float [B]; QA int64 [B, 2], first and last token of the answer,
            both 0 ([CLS]) in a window without it; text int64 [B, N], the token that was masked, else `NOT_MASKED`.
        answer_mask: QA only, bool [B, N]: where an answer may lie ([CLS] and the context's tokens).
        word_ids: int64 [B, N]: which word of its sentence a token belongs to, -1 for special tokens and padding.
    """

    kind: TaskKind
    ids: tuple[str, ...]
    inputs: Mapping[str, Tensor]
    labels: Tensor
    answer_mask: Tensor | None = None
    word_ids: Tensor | None = None

    @property
    def mask(self) -> Tensor:
        """Bool [B, N]: real tokens."""
        return self.inputs["attention_mask"].bool()

    @property
    def lengths(self) -> Tensor:
        """Int64 [B]: real tokens of each example."""
        return self.inputs["attention_mask"].sum(-1)

    def tensors(self) -> list[Tensor]:
        """All tensors there are."""
        return [t for t in (*self.inputs.values(), self.labels, self.answer_mask, self.word_ids) if t is not None]

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in memory from which a GPU copies by itself."""
        return self._each(Tensor.pin_memory)

    def part(self, rows: slice, tokens: int | None = None) -> Batch:
        """Some of its examples, as views: padded as they are, or cut to their first `tokens` tokens."""
        part = replace(self._each(lambda tensor: tensor[rows]), ids=self.ids[rows])
        if tokens is None or tokens == part.inputs["input_ids"].shape[1]:
            return part
        cut = part._each(lambda tensor: tensor[:, :tokens] if tensor.ndim > 1 else tensor)
        return cut if self.kind == "text" else replace(cut, labels=part.labels)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            inputs={name: change(tensor) for name, tensor in self.inputs.items()},
            labels=change(self.labels),
            answer_mask=None if self.answer_mask is None else change(self.answer_mask),
            word_ids=None if self.word_ids is None else change(self.word_ids),
        )

    @staticmethod
    def from_mapping(batch: Mapping[str, Tensor]) -> Batch:
        """A batch from tensors in transformers' naming; the kind of task is inferred from the labels.

        Takes the model's inputs and either ``labels`` (integers [B]: classification, floats: regression, integers
        [B, N]: text) or ``start_positions``, ``end_positions`` and ``answer_mask``; with neither it is text of which
        nothing is masked.
        """
        inputs = {name: batch[name] for name in MODEL_INPUTS if name in batch}
        ids = tuple(str(i) for i in range(len(batch["input_ids"])))
        word_ids = batch.get("word_ids")
        if "start_positions" in batch:
            labels = torch.stack([batch["start_positions"], batch["end_positions"]], dim=1)
            return Batch("qa", ids, inputs, labels, batch["answer_mask"].bool(), word_ids)
        labels = batch.get("labels", torch.full_like(batch["input_ids"], NOT_MASKED))
        if labels.shape == batch["input_ids"].shape and not labels.is_floating_point():
            return Batch("text", ids, inputs, labels, word_ids=word_ids)
        if labels.is_floating_point():
            return Batch("regression", ids, inputs, labels.reshape(-1), word_ids=word_ids)
        return Batch("classification", ids, inputs, labels.reshape(-1), word_ids=word_ids)
