"""Relations between the words of a layer, and between the layers of a word: pairs (cosines) and angles.

Angles need differences of whole vectors, for a window of w words [B, N, w, H]. They are computed for some words at a
time, and again in the backward pass, so that only those of one chunk are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from harness.api.chunked_attention import mean_over_tokens
from harness.api.losses import full_precision, unit_vectors

MAX_ELEMENTS = 2**24
"""The most elements of the differences of a chunk: 64 MiB in float32. It depends on shapes only, so that losses are
bit-identical on every machine state."""


def word_pairs(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher || student) of softmax over the other real words j != i of cos(h_i, h_j): a scalar.

    Args:
        student: [B, N, H].
        teacher: [B, N, H']; the width may differ.
        mask: bool [B, N], True at real words.
    """
    other = mask[:, None, :] & ~_diagonal(mask.shape[1], mask.device)
    log_s, log_t = (_log_relation(states, other) for states in (student, teacher))
    return mean_over_tokens(_kl(log_s, log_t), mask)


def word_angles(student: Tensor, teacher: Tensor, mask: Tensor, window: int) -> Tensor:
    """Mean squared difference of the cosines between h_i - h_j and h_i - h_k, over all real words j and k of the window
    of `window` words around i: a scalar. Arguments as in `word_pairs`."""
    reach = window // 2
    inside = F.pad(mask, (reach, reach)).unfold(1, window, 1)  # [B, N, w]
    outside = ~(inside.unsqueeze(-1) & inside.unsqueeze(-2))
    counts = inside.sum(-1).clamp(min=1).square()  # the clamp: padding has no window
    own, theirs = (F.pad(states, (0, 0, reach, reach)) for states in (student, teacher))

    def cosines(padded: Tensor) -> Tensor:
        padded = full_precision(padded)
        around = padded.unfold(1, window, 1).transpose(-1, -2)  # [B, n, w, H]
        return _cosines(around - padded[:, reach:-reach].unsqueeze(-2))

    def distances(own: Tensor, theirs: Tensor, outside: Tensor) -> Tensor:
        return (cosines(own) - theirs).square().masked_fill(outside, 0).sum((-1, -2))

    by_word = [
        _recomputed(
            distances,
            own[:, rows.start : rows.stop + 2 * reach],
            cosines(theirs[:, rows.start : rows.stop + 2 * reach]),
            outside[:, rows],
        )
        for rows in _chunks(mask, window * max(student.shape[-1], teacher.shape[-1]))
    ]
    return mean_over_tokens(torch.cat(by_word, 1) / counts, mask)


def layer_relations(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs and angles of `word_pairs` and `word_angles`, between the layers of a word: two scalars.

    KL(teacher || student) of softmax over the other layers m != l of cos(h_l, h_m), mean over layers l and words; mean
    squared difference of the cosines between h_l - h_m and h_l - h_n, over all layers l, m, n and words.

    Args:
        student: L' layers, [B, N, H] each.
        teacher: as many layers, [B, N, H'] each.
        mask: bool [B, N], True at real words.
    """
    other = ~_diagonal(len(student), mask.device)

    def relations(layers: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the pairs [B, n, L', L'], and cosines [B, n, L', L', L']."""
        states = torch.stack([full_precision(layer) for layer in layers], 2)
        return _log_relation(states, other), _cosines(states.unsqueeze(-3) - states.unsqueeze(-2))

    def distances(log_t: Tensor, theirs: Tensor, *own: Tensor) -> Tensor:
        log_s, cosines = relations(own)
        pairs, angles = _kl(log_s, log_t).mean(-1), (cosines - theirs).square().mean((-1, -2, -3))
        return torch.stack([pairs, angles])

    widest = max(layer.shape[-1] for layer in (*student, *teacher))
    by_word = [
        _recomputed(distances, *relations([t[:, rows] for t in teacher]), *(s[:, rows] for s in student))
        for rows in _chunks(mask, len(student) ** 2 * widest)
    ]
    pairs, angles = torch.cat(by_word, 2)
    return mean_over_tokens(pairs, mask), mean_over_tokens(angles, mask)


def _recomputed(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """The function of the tensors, whose intermediate results are computed again in the backward pass."""
    result: Tensor = checkpoint(function, *tensors, use_reentrant=False, preserve_rng_state=False)
    return result


def _chunks(mask: Tensor, elements: int) -> Iterator[slice]:
    """Slices of the words, of `elements` each in every example."""
    examples, words = mask.shape
    size = max(1, MAX_ELEMENTS // (examples * elements))
    return (slice(first, min(first + size, words)) for first in range(0, words, size))


def _diagonal(size: int, device: torch.device) -> Tensor:
    return torch.eye(size, dtype=torch.bool, device=device)


def _log_relation(states: Tensor, other: Tensor) -> Tensor:
    """Log-softmax of the cosines of [..., M, H] where `other` is True: [..., M, M]."""
    # Rounding whole products under autocast would change the softmax.
    with torch.autocast(states.device.type, enabled=False):
        unit = unit_vectors(states)
        cosines = unit @ unit.transpose(-1, -2)
    return F.log_softmax(cosines.masked_fill(~other, torch.finfo(cosines.dtype).min), dim=-1)


def _kl(log_s: Tensor, log_t: Tensor) -> Tensor:
    return F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1)


def _cosines(differences: Tensor) -> Tensor:
    """The cosines between the vectors [..., M, H]: [..., M, M]. A vector of length 0 has cosines of 0, and no gradient,
    which would be infinite."""
    with torch.autocast(differences.device.type, enabled=False):
        length = differences.norm(dim=-1, keepdim=True)
        unit = differences / length.masked_fill(length == 0, torch.inf)
        return unit @ unit.transpose(-1, -2)
