"""Does the second sentence follow from the first? Kinds of things are exchanged under quantifiers and negation."""

from __future__ import annotations

from typing import Any

from harness.api.seeded_choice import SeededChoice

KINDS = {
    "animals": ("dogs", "cats", "birds", "horses"),
    "vehicles": ("cars", "boats", "trains", "bikes"),
    "people": ("doctors", "bakers", "teachers", "sailors"),
    "plants": ("roses", "pines", "ferns", "lilies"),
}
VERBS = ("see", "like", "paint", "draw")

UP, DOWN = 1, -1
"""Directions in which an exchange keeps a sentence true: to a more general kind, or to a more special one."""
SUBJECT = {"some": UP, "all": DOWN, "no": DOWN}
OBJECT = {"some": UP, "all": UP, "no": DOWN}

SOME = 0.5
NEGATED = 0.25
BOTH = 0.2


def example(dice: SeededChoice) -> dict[str, Any]:
    """Subject, object or both are exchanged; it follows if every exchange goes the way that its place allows.

    "some" and "all" may stand before "do not", which turns the object's direction round.
    """
    subject_kind, object_kind = dice.some(KINDS, 2)
    quantifier = "some" if dice.chance(SOME) else dice.pick(("all", "no"))
    verb = dice.pick(VERBS)
    negated = quantifier != "no" and dice.chance(NEGATED)
    changed = {"subject", "object"} if dice.chance(BOTH) else {dice.pick(("subject", "object"))}
    subjects, subject_way = _exchange(dice, subject_kind, "subject" in changed)
    objects, object_way = _exchange(dice, object_kind, "object" in changed)
    allowed = -OBJECT[quantifier] if negated else OBJECT[quantifier]
    follows = subject_way in (0, SUBJECT[quantifier]) and object_way in (0, allowed)
    action = f"do not {verb}" if negated else verb
    premise, hypothesis = (f"{quantifier} {who} {action} {what}" for who, what in zip(subjects, objects, strict=True))
    return {"text": premise, "text_pair": hypothesis, "label": int(not follows)}


def _exchange(dice: SeededChoice, kind: str, changed: bool) -> tuple[tuple[str, str], int]:
    """A word of the premise, that of the hypothesis, and the direction of the exchange."""
    if not changed:
        word = dice.pick((kind, *KINDS[kind]))
        return (word, word), 0
    special = dice.pick(KINDS[kind])
    return ((special, kind), UP) if dice.chance(0.5) else ((kind, special), DOWN)
