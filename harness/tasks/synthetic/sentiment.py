"""Generated sentiment task: negation and contrast determine which words count, and with which sign."""

from __future__ import annotations

from typing import Any

from harness.api.seeded_choice import SeededChoice

ASPECTS = ("plot", "acting", "music", "dialogue", "pace", "ending", "cast", "script", "camera", "humour")
GOOD = ("good", "fine", "clever", "moving", "warm", "sharp", "lively", "graceful")
BAD = ("bad", "dull", "weak", "clumsy", "cold", "flat", "tired", "stale")
NEGATIONS = ("not", "never")
INTENSIFIERS = ("very", "quite")

ONE_CLAUSE = 0.3
"""Probability of a sentence with one clause."""
NEGATED = 0.35
"""Probability that a clause is negated."""
INTENSIFIED = 0.2
"""Probability that a clause has an intensifier."""
AGREEING = 0.3
"""Probability that both clauses have the same sentiment, so that single words carry a signal to start learning from."""


def example(rng: SeededChoice) -> dict[str, Any]:
    """Return an example. The main clause determines the label: the one after "but", or without "although"."""
    positive = rng.chance(0.5)
    first_aspect, second_aspect = rng.some(ASPECTS, 2)
    main = _clause(rng, first_aspect, positive)
    other = _clause(rng, second_aspect, positive if rng.chance(AGREEING) else not positive)
    if rng.chance(ONE_CLAUSE):
        text = main
    else:
        text = rng.pick((f"{other} but {main}", f"although {other} , {main}", f"{main} although {other}"))
    return {"text": text, "label": int(positive)}


def _clause(rng: SeededChoice, aspect: str, positive: bool) -> str:
    words = ["the", aspect, "is"]
    negated = rng.chance(NEGATED)
    if negated:
        words.append(rng.pick(NEGATIONS))
    if rng.chance(INTENSIFIED):
        words.append(rng.pick(INTENSIFIERS))
    words.append(rng.pick(GOOD if positive != negated else BAD))
    return " ".join(words)
