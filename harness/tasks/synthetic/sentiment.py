"""Sentiment of one sentence, where negation and contrast decide which words count, and for which side."""

from __future__ import annotations

from typing import Any

from harness.api.seeded_choice import SeededChoice

ASPECTS = ("plot", "acting", "music", "dialogue", "pace", "ending", "cast", "script", "camera", "humour")
GOOD = ("good", "fine", "clever", "moving", "warm", "sharp", "lively", "graceful")
BAD = ("bad", "dull", "weak", "clumsy", "cold", "flat", "tired", "stale")
NEGATIONS = ("not", "never")
INTENSIFIERS = ("very", "quite")

ONE_CLAUSE = 0.3
NEGATED = 0.35
INTENSIFIED = 0.2
AGREEING = 0.3
"""How often both clauses are of one mind, so that words alone tell something: a start for a model to learn from."""


def example(dice: SeededChoice) -> dict[str, Any]:
    """The main clause decides: what follows "but", and what "although" does not introduce."""
    positive = dice.chance(0.5)
    here, there = dice.some(ASPECTS, 2)
    main = _clause(dice, here, positive)
    other = _clause(dice, there, positive if dice.chance(AGREEING) else not positive)
    if dice.chance(ONE_CLAUSE):
        text = main
    else:
        text = dice.pick((f"{other} but {main}", f"although {other} , {main}", f"{main} although {other}"))
    return {"text": text, "label": int(positive)}


def _clause(dice: SeededChoice, aspect: str, positive: bool) -> str:
    words = ["the", aspect, "is"]
    negated = dice.chance(NEGATED)
    if negated:
        words.append(dice.pick(NEGATIONS))
    if dice.chance(INTENSIFIED):
        words.append(dice.pick(INTENSIFIERS))
    words.append(dice.pick(GOOD if positive != negated else BAD))
    return " ".join(words)
