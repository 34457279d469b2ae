"""Spans of an example: the words, or random cuts, and the mean vector of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.api.device_transfer import to_device
from harness.api.lazy_torch import F, torch
from harness.api.losses import full_precision

if TYPE_CHECKING:
    from torch import Tensor

LEAST_SPANS = 3
"""An example with fewer spans has no triangle of them and contributes nothing, as in the authors' code."""

CUT_PROBABILITY = 0.4
"""Probability of a cut after a token: about 0.4 N spans in N tokens, the number that GLMKD allows."""


@dataclass(frozen=True)
class Spans:
    """Which tokens each span holds.

    Attributes:
        members: float32 [B, U, N]: 1 / (length of the span) at its tokens, else 0. U is N, the most spans that an
            example can have: the number of a batch would have to be copied from the device at every step.
        mask: bool [B, U]: True at spans; one in an example with fewer than `LEAST_SPANS`, which has no members.
    """

    members: Tensor
    mask: Tensor

    def means(self, tokens: Tensor) -> Tensor:
        """The mean vector of each span [B, U, H] of vectors [B, N, H], in at least float32."""
        tokens = full_precision(tokens)
        with torch.autocast(tokens.device.type, enabled=False):
            return self.members.to(tokens.dtype) @ tokens


def words(word_ids: Tensor) -> Spans:
    """The words as spans, from `Batch.word_ids` [B, N]: consecutive tokens of one word."""
    inside = word_ids >= 0
    return _spans(inside & (word_ids != F.pad(word_ids, (1, 0), value=-1)[:, :-1]), inside)


def random_cuts(mask: Tensor, generator: torch.Generator) -> Spans:
    """Consecutive parts of an example's real tokens (`mask`, bool [B, N]), cut at random places."""
    starts = torch.rand(mask.shape, generator=generator) < CUT_PROBABILITY
    starts[:, 0] = True
    return _spans(to_device(starts, mask.device) & mask, mask)


def _spans(starts: Tensor, inside: Tensor) -> Spans:
    """The spans that begin at `starts`, bool [B, N], of the tokens `inside`, bool [B, N]."""
    indices = starts.cumsum(-1) - 1
    numbers = torch.arange(inside.shape[1], device=inside.device)
    # Not F.one_hot, which checks its values on the CPU.
    members = (indices.clamp(min=0)[..., None] == numbers).long() * inside[..., None]  # [B, N, U]
    counts = members.sum(1)
    enough = (counts > 0).sum(-1) >= LEAST_SPANS
    means = (members / counts.clamp(min=1)[:, None]).transpose(1, 2) * enough[:, None, None]
    # Vectors without members are zero in both models, so that one of them has the loss 0.
    return Spans(means.float(), torch.where(enough[:, None], counts > 0, numbers == 0))
