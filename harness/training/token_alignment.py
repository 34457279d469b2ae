"""A teacher's tensors in its student's tokens, where the two read the same rows with different tokenizers.

Wu, Wu and Huang 2021 (arXiv 2106.01023) teach with BERT and RoBERTa together and do not say how their tokens meet. Here
they meet in the characters that they cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.api.model_outputs import Layered, ModelOutputs
from harness.tasks.token_offsets import NOWHERE
from harness.tasks.tokenization import TokenizedExamples
from harness.training.device_transfer import sent


class Alignment:
    """Of one batch. A student's token meets those of the teacher that share a character of the same sentence with it;
    [CLS] meets [CLS], the k-th group of separators the k-th.

    Args:
        student: offsets of the student's tokens, int64 [B, N_S, 3] (`harness.tasks.token_offsets`); padding: `NOWHERE`.
        teacher: those of the teacher's, int64 [B, N_T, 3].
        answer_mask: QA only, bool [B, N_S], where in the student's tokens an answer may lie.
    """

    def __init__(self, student: Tensor, teacher: Tensor, answer_mask: Tensor | None = None) -> None:
        self._student = student.unsqueeze(2).unbind(-1)  # sentence, begin, end; each [B, N_S, 1]
        self._teacher = teacher.unsqueeze(1).unbind(-1)  # each [B, 1, N_T]
        self._answer_mask = answer_mask

    @staticmethod
    def of(
        student: TokenizedExamples, teacher: TokenizedExamples, rows: Sequence[int], device: torch.device
    ) -> Alignment:
        """Of the named rows, padded to the longest; both encoded with their places, row by row the same."""
        mask = None
        if student.answer_mask is not None:
            padded = student.answer_mask.padded(rows, int(student.lengths[list(rows)].max()), False)
            mask = sent(torch.from_numpy(padded), device)
        return Alignment(_places(student, rows, device), _places(teacher, rows, device), mask)

    def carry(self, tensors: ModelOutputs) -> ModelOutputs:
        """The teacher's tensors at the student's tokens: `embeddings`, `hidden`, and for QA `logits`. What stands at
        no token, `pooled` and other logits, stays as it is; nothing else can be carried."""
        logits, embeddings = tensors._logits, tensors._embeddings
        return replace(
            tensors,
            _logits=logits if logits is None or self._answer_mask is None else self.answers(logits),
            _embeddings=None if embeddings is None else self.states(embeddings),
            hidden=Layered("hidden", {layer: self.states(tensor) for layer, tensor in tensors.hidden.items()}),
        )

    def states(self, states: Tensor) -> Tensor:
        """From [B, N_T, H] to [B, N_S, H]: the mean over the tokens that a student's token meets, zero in padding."""
        full = states.float() if states.dtype in (torch.float16, torch.bfloat16) else states
        meets = self._meets.to(full.dtype)
        return ((meets @ full) / meets.sum(-1, keepdim=True).clamp(min=1)).to(states.dtype)

    def answers(self, logits: Tensor) -> Tensor:
        """From [B, 2, N_T] to [B, 2, N_S]: log-probabilities, so that a softmax gives the distribution that the
        teacher's became; the lowest value where no answer may lie, and finite everywhere else.

        A token's probability goes to one student's token, undivided: for the start to the first that it meets, for the
        end to the last. So an answer that the teacher is sure of is one that the student can be sure of: its first
        token begins where the teacher's begins, and its last ends where that ends. Shared out among all tokens of a
        word, the start would lie within the word as well. A token that meets none (of characters that the student's
        tokenizer drops) gives its start to the next one, its end to the one before, and where there is none, to [CLS]:
        no answer, as in a window that does not hold the answer.
        """
        assert self._answer_mask is not None
        full = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        received = F.one_hot(self._receivers, self._answer_mask.shape[1]).to(full.dtype)  # [B, 2, N_T, N_S]
        carried = (full.softmax(-1).unsqueeze(2) @ received).squeeze(2)
        limits = torch.finfo(full.dtype)
        return carried.clamp(min=limits.tiny).log().masked_fill(~self._answer_mask[:, None], limits.min)

    @cached_property
    def _meets(self) -> Tensor:
        """Bool [B, N_S, N_T]. A real token that shares no character with any (the teacher's row was cut, or its
        tokenizer drops the character) meets the nearest before it in its sentence, else [CLS]."""
        sentence, begin, end = self._student
        their_sentence, their_begin, their_end = self._teacher
        same = sentence == their_sentence
        meets = same & (torch.minimum(end, their_end) > torch.maximum(begin, their_begin))
        before = same & (their_begin < begin) & (their_end > their_begin)
        place = torch.arange(before.shape[2], device=before.device)
        nearest = torch.where(before, place, 0).amax(2, keepdim=True)
        alone = ~meets.any(2, keepdim=True) & (sentence != NOWHERE)
        return meets | (alone & (place == nearest))

    @cached_property
    def _receivers(self) -> Tensor:
        """Int64 [B, 2, N_T]: the student's token that receives the start, and the end, of each of the teacher's."""
        assert self._answer_mask is not None
        sentence, begin, end = self._student
        their_sentence, their_begin, their_end = self._teacher
        allowed = (sentence == their_sentence) & self._answer_mask.unsqueeze(2)
        places = torch.arange(allowed.shape[1], device=allowed.device)[:, None]
        beyond = allowed.shape[1]
        first = torch.where(allowed & (end > their_begin), places, beyond).amin(1)
        last = torch.where(allowed & (begin < their_end), places, 0).amax(1)
        return torch.stack([torch.where(first == beyond, 0, first), last], dim=1)


def _places(encoded: TokenizedExamples, rows: Sequence[int], device: torch.device) -> Tensor:
    assert encoded.places is not None
    padded = encoded.places.padded(rows, int(encoded.lengths[list(rows)].max()), NOWHERE)
    return sent(torch.from_numpy(padded).long(), device)
