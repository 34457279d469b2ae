"""Generated multilabel task: which aspects of a film a review praises, under negation."""

from __future__ import annotations

from typing import Any

from harness.api.seeded_choice import SeededChoice
from harness.tasks.synthetic.sentiment import BAD, GOOD, INTENSIFIERS, NEGATIONS

ASPECTS = ("plot", "acting", "music", "pace")
"""The classes."""

MAX_CLAUSES = 3
"""Maximum number of aspects in a review."""
NEGATED = 0.35
"""Probability that a clause is negated."""
INTENSIFIED = 0.2
"""Probability that a clause has an intensifier."""


def example(rng: SeededChoice) -> dict[str, Any]:
    """Return an example. Each clause is about another aspect; its classes are the praised ones."""
    aspects = rng.some(ASPECTS, rng.pick(range(1, MAX_CLAUSES + 1)))
    clauses, praised = [], []
    for aspect in aspects:
        good, negated = rng.chance(0.5), rng.chance(NEGATED)
        words = ["the", aspect, "is"]
        words += [rng.pick(NEGATIONS)] * negated + [rng.pick(INTENSIFIERS)] * rng.chance(INTENSIFIED)
        clauses.append(" ".join([*words, rng.pick(GOOD if good else BAD)]))
        if good != negated:
            praised.append(ASPECTS.index(aspect))
    return {"text": " , ".join(clauses), "label": sorted(praised)}
