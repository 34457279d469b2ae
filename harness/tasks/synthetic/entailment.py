"""Generated entailment task: words are replaced by more general or special ones under quantifiers and negation."""

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
"""Monotonicity: directions of replacement that keep a sentence true, to a more general or a more special kind."""
SUBJECT = {"some": UP, "all": DOWN, "no": DOWN}
OBJECT = {"some": UP, "all": UP, "no": DOWN}

SOME = 0.5
"""Probability of the quantifier "some"."""
NEGATED = 0.25
"""Probability of a negation, where the quantifier allows it."""
BOTH = 0.2
"""Probability that both subject and object are replaced."""


def example(rng: SeededChoice) -> dict[str, Any]:
    """Return an example. Subject, object or both are replaced; entailed if each replacement has the allowed direction.

    After "some" and "all" the verb may be negated, which reverses the allowed direction of the object.
    """
    subject_kind, object_kind = rng.some(KINDS, 2)
    quantifier = "some" if rng.chance(SOME) else rng.pick(("all", "no"))
    verb = rng.pick(VERBS)
    negated = quantifier != "no" and rng.chance(NEGATED)
    changed = {"subject", "object"} if rng.chance(BOTH) else {rng.pick(("subject", "object"))}
    subjects, subject_direction = _replace(rng, subject_kind, "subject" in changed)
    objects, object_direction = _replace(rng, object_kind, "object" in changed)
    allowed = -OBJECT[quantifier] if negated else OBJECT[quantifier]
    follows = subject_direction in (0, SUBJECT[quantifier]) and object_direction in (0, allowed)
    action = f"do not {verb}" if negated else verb
    premise, hypothesis = (
        f"{quantifier} {subject} {action} {object_}" for subject, object_ in zip(subjects, objects, strict=True)
    )
    return {"text": premise, "text_pair": hypothesis, "label": int(not follows)}


def _replace(rng: SeededChoice, kind: str, changed: bool) -> tuple[tuple[str, str], int]:
    """Return the words of premise and hypothesis, and the direction of the replacement (0: none)."""
    if not changed:
        word = rng.pick((kind, *KINDS[kind]))
        return (word, word), 0
    special = rng.pick(KINDS[kind])
    return ((special, kind), UP) if rng.chance(0.5) else ((kind, special), DOWN)
