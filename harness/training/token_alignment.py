"""Aligns a teacher's outputs to the student's tokens where the two have different tokenizers.

Tokens are matched by the characters that they cover. Wu, Wu and Huang 2021 (arXiv 2106.01023) distill from BERT and
RoBERTa together and do not say how they align tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.api.device_transfer import to_device
from harness.api.model_outputs import Layered, ModelOutputs
from harness.tasks.token_offsets import NOWHERE
from harness.tasks.tokenization import TokenizedExamples


class Alignment:
    """The alignment of one batch.

    A student's token is matched with the teacher's tokens that share a character of the same sentence with it; [CLS]
    with [CLS], and the k-th run of separators with the k-th.

    Args:
        student: offsets of the student's tokens, int64 [B, N_S, 3] (`harness.tasks.token_offsets`); padding: `NOWHERE`.
        teacher: offsets of the teacher's tokens, int64 [B, N_T, 3].
        answer_mask: QA only, bool [B, N_S], the student's tokens that an answer may contain.
        token_logits: whether logits are per token, [B, N, C], as in token classification.
    """

    def __init__(
        self, student: Tensor, teacher: Tensor, answer_mask: Tensor | None = None, *, token_logits: bool = False
    ) -> None:
        self._student = student.unsqueeze(2).unbind(-1)  # sentence, begin, end; each [B, N_S, 1]
        self._teacher = teacher.unsqueeze(1).unbind(-1)  # each [B, 1, N_T]
        self._answer_mask = answer_mask
        self._token_logits = token_logits

    @staticmethod
    def of(
        student: TokenizedExamples, teacher: TokenizedExamples, rows: Sequence[int], device: torch.device
    ) -> Alignment:
        """The alignment of `rows`, padded to the longest; both tokenizations have the same rows, with offsets."""
        mask = None
        if student.answer_mask is not None:
            padded = student.answer_mask.padded(rows, int(student.lengths[list(rows)].max()), False)
            mask = to_device(torch.from_numpy(padded), device)
        places = _offsets(student, rows, device), _offsets(teacher, rows, device)
        return Alignment(*places, mask, token_logits=student.kind == "token_classification")

    def align(self, outputs: ModelOutputs) -> ModelOutputs:
        """The teacher's outputs at the student's tokens: `embeddings`, `hidden`, and `logits` that are per token.

        Outputs per example, `pooled` and other logits, are unchanged. Other outputs per token cannot be aligned.
        """
        logits, embeddings = outputs._logits, outputs._embeddings
        return replace(
            outputs,
            _logits=None if logits is None else self._aligned_logits(logits),
            _embeddings=None if embeddings is None else self.states(embeddings),
            hidden=Layered("hidden", {layer: self.states(tensor) for layer, tensor in outputs.hidden.items()}),
        )

    def states(self, states: Tensor) -> Tensor:
        """From [B, N_T, H] to [B, N_S, H]: the mean over the matched teacher's tokens, zero in padding."""
        full = states.float() if states.dtype in (torch.float16, torch.bfloat16) else states
        matches = self._matches.to(full.dtype)
        return ((matches @ full) / matches.sum(-1, keepdim=True).clamp(min=1)).to(states.dtype)

    def _aligned_logits(self, logits: Tensor) -> Tensor:
        if self._answer_mask is not None:
            return self.answers(logits)
        return self.labels(logits) if self._token_logits else logits

    def labels(self, logits: Tensor) -> Tensor:
        """From [B, N_T, C] to [B, N_S, C]: the logits of the first matched teacher's token.

        A word has its label at its first token, so there the student gets what the teacher predicts for the word.
        """
        first = self._matches.int().argmax(-1)  # argmax of booleans is not supported; of equal values the first
        return logits.gather(1, first.unsqueeze(-1).expand(-1, -1, logits.shape[-1]))

    def answers(self, logits: Tensor) -> Tensor:
        """From [B, 2, N_T] to [B, 2, N_S]: log-probabilities of the answer's start and end at the student's tokens.

        Values are finite. Tokens outside `answer_mask`, and those to which no teacher's token is assigned, have the
        lowest value of the dtype, which is the probability 0 at any temperature.

        The probability of a teacher's token is assigned undivided to one student's token: of the start to the first
        matched one, of the end to the last. Dividing it among all matched tokens would also put the start inside a
        word. A token without a match (its characters are dropped by the student's tokenizer) passes its start to the
        next token, its end to the previous one; if there is none, to [CLS], which means no answer.
        """
        assert self._answer_mask is not None
        full = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        received = F.one_hot(self._receivers, self._answer_mask.shape[1]).to(full.dtype)  # [B, 2, N_T, N_S]
        aligned = (full.softmax(-1).unsqueeze(2) @ received).squeeze(2)
        limits = torch.finfo(full.dtype)
        valued = received.any(2) & self._answer_mask[:, None]
        return aligned.clamp(min=limits.tiny).log().masked_fill(~valued, limits.min)

    @cached_property
    def _matches(self) -> Tensor:
        """Matched tokens, bool [B, N_S, N_T].

        A student's token without a match (the teacher's row was truncated, or its tokenizer drops the characters) is
        matched with the nearest preceding token of its sentence, else with [CLS].
        """
        sentence, begin, end = self._student
        teacher_sentence, teacher_begin, teacher_end = self._teacher
        same = sentence == teacher_sentence
        matches = same & (torch.minimum(end, teacher_end) > torch.maximum(begin, teacher_begin))
        before = same & (teacher_begin < begin) & (teacher_end > teacher_begin)
        index = torch.arange(before.shape[2], device=before.device)
        nearest = torch.where(before, index, 0).amax(2, keepdim=True)
        unmatched = ~matches.any(2, keepdim=True) & (sentence != NOWHERE)
        return matches | (unmatched & (index == nearest))

    @cached_property
    def _receivers(self) -> Tensor:
        """The student's token that receives the start, and the end, of each teacher's token: int64 [B, 2, N_T]."""
        assert self._answer_mask is not None
        sentence, begin, end = self._student
        teacher_sentence, teacher_begin, teacher_end = self._teacher
        allowed = (sentence == teacher_sentence) & self._answer_mask.unsqueeze(2)
        index = torch.arange(allowed.shape[1], device=allowed.device)[:, None]
        beyond = allowed.shape[1]
        first = torch.where(allowed & (end > teacher_begin), index, beyond).amin(1)
        last = torch.where(allowed & (begin < teacher_end), index, 0).amax(1)
        return torch.stack([torch.where(first == beyond, 0, first), last], dim=1)


def _offsets(encoded: TokenizedExamples, rows: Sequence[int], device: torch.device) -> Tensor:
    """Token offsets of `rows`, int64 [B, N, 3], padded with `NOWHERE`."""
    assert encoded.places is not None
    padded = encoded.places.padded(rows, int(encoded.lengths[list(rows)].max()), NOWHERE)
    return to_device(torch.from_numpy(padded).long(), device)
