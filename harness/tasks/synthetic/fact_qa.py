"""Generated extractive QA task: the answer is the thing of the given kind that the given person bought."""

from __future__ import annotations

from typing import Any

from harness.api.seeded_choice import SeededChoice

KINDS = {
    "fruit": ("apple", "pear", "plum", "fig"),
    "tool": ("hammer", "saw", "drill", "rake"),
    "toy": ("kite", "doll", "drum", "ball"),
}
PEOPLE = ("anna", "ben", "clara")

FACTS = 3
"""Number of facts in a context."""
FIRST_PERSON = 0.75
"""Probability that the question is about the first person. With equal probabilities, no single fact would carry a
signal, and a model trained from scratch would not start to learn."""
UNIQUE_KEPT = 0.35
"""Probability of keeping an example in which the kind alone determines the answer."""


def example(rng: SeededChoice) -> dict[str, Any]:
    """Return an example with facts in random order. In most examples, the answer depends on both person and kind."""
    while True:
        facts = _facts(rng)
        person = PEOPLE[0] if rng.chance(FIRST_PERSON) else rng.pick(PEOPLE[1:])
        kind = rng.pick(tuple(KINDS))
        answers = [thing for owner, thing in facts if owner == person and thing in KINDS[kind]]
        of_kind = [thing for _, thing in facts if thing in KINDS[kind]]
        if len(answers) == 1 and (len(of_kind) > 1 or rng.chance(UNIQUE_KEPT)):
            break
    context = " ".join(f"{owner} bought the {thing} ." for owner, thing in facts)
    return {
        "question": f"which {kind} did {person} buy ?",
        "context": context,
        "answers": [{"text": answers[0], "start": context.index(f" {answers[0]} ") + 1}],
    }


def _facts(rng: SeededChoice) -> list[tuple[str, str]]:
    """Return `FACTS` pairs (person, thing) with distinct things."""
    things = rng.some([thing for things in KINDS.values() for thing in things], FACTS)
    return [(rng.pick(PEOPLE), thing) for thing in things]
