"""Extractive QA: the answer is the one thing that is of the asked kind and belongs to the asked person."""

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
FIRST_PERSON = 0.75
"""How often the question is about the first person. Were all asked about alike, no fact alone would tell anything, and
a model trained from scratch would not find where to begin."""
UNIQUE_KEPT = 0.35
"""How many of the examples stay in which the kind alone finds the answer."""


def example(dice: SeededChoice) -> dict[str, Any]:
    """Facts in random order; only person and kind together find the answer, in most examples."""
    while True:
        facts = _facts(dice)
        person = PEOPLE[0] if dice.chance(FIRST_PERSON) else dice.pick(PEOPLE[1:])
        kind = dice.pick(tuple(KINDS))
        answers = [thing for owner, thing in facts if owner == person and thing in KINDS[kind]]
        of_kind = [thing for _, thing in facts if thing in KINDS[kind]]
        if len(answers) == 1 and (len(of_kind) > 1 or dice.chance(UNIQUE_KEPT)):
            break
    context = " ".join(f"{owner} bought the {thing} ." for owner, thing in facts)
    return {
        "question": f"which {kind} did {person} buy ?",
        "context": context,
        "answers": [{"text": answers[0], "start": context.index(f" {answers[0]} ") + 1}],
    }


def _facts(dice: SeededChoice) -> list[tuple[str, str]]:
    """Who bought what: `FACTS` pairs, no thing twice."""
    things = dice.some([thing for things in KINDS.values() for thing in things], FACTS)
    return [(dice.pick(PEOPLE), thing) for thing in things]
