"""Checks the names of loss terms, weights and logged values: no duplicates, and no weight without a term."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from torch import Tensor

from harness.api.events import LossPoint

TOTAL = "loss"
"""Name of the weighted total in records, events and logs."""


def check(terms: Collection[str], logged: Collection[str]) -> None:
    """Check the names of one step for duplicates.

    Raises:
        ValueError: a term or a logged value has the name of the total, or a logged value that of a term.
    """
    for kind, names in (("losses() names a term", terms), ("log() names a value", logged)):
        if TOTAL in names:
            raise ValueError(f"{kind} {TOTAL!r}, which is reserved for the weighted total; choose another name")
    if duplicates := sorted({*terms} & {*logged}):
        raise ValueError(f"log() names a value {duplicates[0]!r}, which is a term of losses(); choose another name")


def check_form(terms: object, weights: object) -> None:
    """Check what `losses` and `weights` return: mappings of names to scalar tensors and to numbers.

    Raises:
        ValueError: one of them is something else, or there are no terms.
    """
    if not isinstance(terms, Mapping):
        raise ValueError(f"losses() returned a {type(terms).__name__}; expected a mapping of names to scalar tensors")
    if not terms:
        raise ValueError("the method's losses() returned no terms")
    for name, term in terms.items():
        if not isinstance(name, str):
            raise ValueError(f"losses() names a term {name!r}; expected a string")
        if not isinstance(term, Tensor):
            raise ValueError(f"loss term {name!r} is a {type(term).__name__}; expected a scalar tensor")
        if term.numel() != 1:
            raise ValueError(f"loss term {name!r} has shape {tuple(term.shape)}; expected a scalar")
        if not term.is_floating_point():
            raise ValueError(f"loss term {name!r} has the dtype {term.dtype}; expected floating point")
    if not isinstance(weights, Mapping):
        raise ValueError(f"weights() returned a {type(weights).__name__}; expected a mapping of names to numbers")
    for name, weight in weights.items():
        if not isinstance(weight, (int, float, Tensor)):
            raise ValueError(f"the weight of {name!r} is a {type(weight).__name__}; expected a number")


def check_weights(weighted: Iterable[str], history: Iterable[LossPoint]) -> None:
    """Check, at the end of a run, that every weighted name was a term in some stage.

    Raises:
        ValueError: a weight belongs to no term, so the term that it was meant for had weight 1.
    """
    terms = {name for point in history for name in point.terms}
    if unused := sorted({*weighted} - terms):
        returned = ", ".join(sorted(terms - {TOTAL}))
        raise ValueError(
            f"weights() names {', '.join(unused)}, but losses() returned no such term in any stage; terms: {returned}"
        )
