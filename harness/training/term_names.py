"""The names of a run's terms, weights and logged values: each stands for one thing, and for something."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from harness.api.events import LossPoint

TOTAL = "loss"
"""What the weighted total is called, in records, events and logs."""


def check(terms: Collection[str], logged: Collection[str]) -> None:
    """See that each name of a step stands for one thing.

    Raises:
        ValueError: a term or a logged value is called as the total is, or a logged value as a term.
    """
    for kind, names in (("losses() names a term", terms), ("log() names a value", logged)):
        if TOTAL in names:
            raise ValueError(f"{kind} {TOTAL!r}, as the weighted total is called: give it another name")
    if both := sorted({*terms} & {*logged}):
        raise ValueError(f"log() names a value {both[0]!r}, as a term of losses() is called: give it another name")


def check_weights(weighed: Iterable[str], history: Iterable[LossPoint]) -> None:
    """See, at the end of a run, that there was a term to every name that a weight was given to, in whatever stage.

    Raises:
        ValueError: there was none: the term that the weight was meant for has weighed 1 all along.
    """
    met = {name for point in history for name in point.terms}
    if idle := sorted({*weighed} - met):
        found = ", ".join(sorted(met - {TOTAL}))
        raise ValueError(f"weights() names {', '.join(idle)}, and losses() gave no such term in any stage: {found}")
