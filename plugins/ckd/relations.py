"""Relations between the words of a layer, and between the layers of a word: pairs (cosines) and angles.

The angle at h_i between h_j and h_k needs differences of whole vectors, for a window of w words [B, N, w, H]. Here it
comes from inner products of vectors instead, which take w * w numbers for each word:

    (h_i - h_j) . (h_i - h_k) = h_i . h_i - h_i . h_j - h_i . h_k + h_j . h_k

Batches are computed in chunks of examples, and again in the backward pass, so that only one chunk is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from harness.api.lazy_torch import F, torch
from harness.api.losses import full_precision, unit_vectors

if TYPE_CHECKING:
    from torch import Tensor

MAX_ELEMENTS = 2**24
"""The most elements of a tensor of a chunk: 64 MiB in float32. It depends on shapes only, so that losses are
bit-identical on every machine state."""

ROUNDING = 16
"""A squared distance below this many times the rounding error of the squared lengths counts as 0."""


def word_relations(student: Tensor, teacher: Tensor, mask: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Distances between the relations of the words of a layer: two scalars, means over words, then over examples.

    Pairs: KL(teacher || student) of softmax over the other real words j != i of cos(h_i, h_j). Angles: mean squared
    difference of the cosines between h_i - h_j and h_i - h_k, over all real words j and k of the window of `window`
    words around i.

    Args:
        student: [B, N, H].
        teacher: [B, N, H']; the width may differ.
        mask: bool [B, N], True at real words.
    """

    def by_word(mask: Tensor, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        other = mask[:, None, :] & ~_diagonal(mask.shape[1], mask.device)
        pairs = _kl(*(_log_relation(full_precision(states), other) for states in (student, teacher)))
        near, inside = _windows(mask, window)
        both_inside = inside.unsqueeze(-1) & inside.unsqueeze(-2)
        own, theirs = (_window_angles(states, mask, near) for states in (student, teacher))
        distances = (own - theirs).square().masked_fill(~both_inside, 0).sum((-1, -2))
        return pairs, distances / both_inside.sum((-1, -2)).clamp(min=1)  # the clamp: padding has no window

    return _in_chunks(by_word, mask, mask.shape[1] * max(mask.shape[1], window**2), student, teacher)


def layer_relations(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
    """Distances between the relations of the vectors of a word in all layers: two scalars, means over words, then over
    examples.

    Pairs: KL(teacher || student) of softmax over the other layers m != l of cos(h_l, h_m), mean over layers l. Angles:
    mean squared difference of the cosines between h_l - h_m and h_l - h_n, over all layers l, m and n.

    Args:
        student: L' layers, [B, N, H] each.
        teacher: as many layers, [B, N, H'] each.
        mask: bool [B, N], True at real words.
    """
    count = len(student)
    other = ~_diagonal(count, mask.device)

    def by_word(mask: Tensor, *layers: Tensor) -> tuple[Tensor, Tensor]:
        own, theirs = (torch.stack([full_precision(layer) for layer in model], 2) for model in _halves(layers))
        pairs = _kl(_log_relation(own, other), _log_relation(theirs, other)).mean(-1)
        return pairs, (_all_angles(own) - _all_angles(theirs)).square().mean((-1, -2, -3))

    widest = max(layer.shape[-1] for layer in (*student, *teacher))
    return _in_chunks(by_word, mask, mask.shape[1] * count * max(widest, count**2), *student, *teacher)


def _in_chunks(
    by_word: Callable[..., tuple[Tensor, Tensor]], mask: Tensor, elements: int, *tensors: Tensor
) -> tuple[Tensor, Tensor]:
    """The means of both results of `by_word` [b, N] over the real words of each example, then over examples.

    Args:
        by_word: called with the mask and the tensors of some examples.
        elements: the elements of its largest tensor for one example.
        tensors: [B, ...] each.
    """

    from torch.utils.checkpoint import checkpoint

    def by_example(mask: Tensor, *tensors: Tensor) -> Tensor:
        both = torch.stack(by_word(mask, *tensors))
        return both.masked_fill(~mask, 0).sum(-1) / mask.sum(-1)

    parts = [
        checkpoint(by_example, mask[rows], *(t[rows] for t in tensors), use_reentrant=False, preserve_rng_state=False)
        for rows in _chunks(len(mask), elements)
    ]
    pairs, angles = torch.cat(parts, 1).mean(1)
    return pairs, angles


def _chunks(examples: int, elements: int) -> Iterator[slice]:
    size = max(1, MAX_ELEMENTS // elements)
    return (slice(first, first + size) for first in range(0, examples, size))


def _halves(layers: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    return layers[: len(layers) // 2], layers[len(layers) // 2 :]


def _diagonal(size: int, device: torch.device) -> Tensor:
    return torch.eye(size, dtype=torch.bool, device=device)


def _log_relation(states: Tensor, other: Tensor) -> Tensor:
    """Log-softmax of the cosines of [..., M, H] where `other` is True: [..., M, M]."""
    cosines = _products(unit_vectors(states))
    return F.log_softmax(cosines.masked_fill(~other, torch.finfo(cosines.dtype).min), dim=-1)


def _kl(log_s: Tensor, log_t: Tensor) -> Tensor:
    return F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1)


def _windows(mask: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """The indices of the words around each word [N, w], clamped to the text, and whether they are real [B, N, w]."""
    words, reach = mask.shape[1], min(window // 2, mask.shape[1] - 1)
    steps = torch.arange(-reach, reach + 1, device=mask.device)
    indices = torch.arange(words, device=mask.device)[:, None] + steps
    near = indices.clamp(0, words - 1)
    return near, mask[:, near] & (indices == near)


def _window_angles(states: Tensor, mask: Tensor, near: Tensor) -> Tensor:
    """Cosines between h_i - h_j and h_i - h_k for all words j and k near i: [B, N, w, w]."""
    states = full_precision(states)
    real = mask.unsqueeze(-1)
    mean = states.masked_fill(~real, 0).sum(1, keepdim=True) / real.sum(1, keepdim=True)
    products = _products(states - mean)[:, near[:, :, None], near[:, None, :]]
    middle = near.shape[1] // 2
    return _angles(products, products[..., middle, :], products[..., middle, middle])


def _all_angles(states: Tensor) -> Tensor:
    """Cosines between h_l - h_m and h_l - h_n for all l, m and n of [..., L, H]: [..., L, L, L]."""
    products = _products(states - states.mean(-2, keepdim=True))
    return _angles(products.unsqueeze(-3), products, products.diagonal(dim1=-2, dim2=-1))


def _angles(products: Tensor, with_centre: Tensor, of_centre: Tensor) -> Tensor:
    """Cosines between h - h_j and h - h_k: [..., M, M].

    A difference of length 0 has cosines of 0, and no gradient, which would be infinite. The vectors should be centred,
    so that rounding is small against the differences.

    Args:
        products: h_j . h_k [..., M, M].
        with_centre: h . h_j [..., M].
        of_centre: h . h [...].
    """
    of_centre = of_centre.unsqueeze(-1)
    squares = products.diagonal(dim1=-2, dim2=-1)
    distances = of_centre + squares - 2 * with_centre
    equal = distances <= ROUNDING * torch.finfo(products.dtype).eps * (of_centre + squares)
    scale = distances.masked_fill(equal, torch.inf).rsqrt()
    differences = (of_centre - with_centre).unsqueeze(-1) - with_centre.unsqueeze(-2) + products
    return differences * scale.unsqueeze(-1) * scale.unsqueeze(-2)


def _products(vectors: Tensor) -> Tensor:
    """Inner products of [..., M, H]: [..., M, M]."""
    # Under autocast they would be rounded, which softmax and differences amplify.
    with torch.autocast(vectors.device.type, enabled=False):
        return vectors @ vectors.transpose(-1, -2)
