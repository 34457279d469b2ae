"""Generated entity task: whether a name is a person or a place depends on the words around it."""

from __future__ import annotations

from typing import Any

from harness.api.seeded_choice import SeededChoice

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")

NAMES = ("jordan", "lincoln", "austin", "florence", "hamilton", "sydney", "houston", "chelsea")
"""Names of persons and of places."""
FIRST_WORDS = {"PER": ("anna", "ben", "clara", "david"), "LOC": ("new", "port", "east", "mount")}
"""Words before a name, for entities of two words."""
PREDICATES = {"PER": ("tired", "hungry", "late"), "LOC": ("crowded", "flooded", "far")}

SENTENCES = (
    "PER lives in LOC",
    "PER met PER near LOC",
    "the road from LOC to LOC is long",
    "the people of LOC like PER",
    "PER and PER work in LOC",
    "yesterday PER wrote a letter",
)
"""Patterns with words next to a name that tell its type."""

REFERRED = 0.6
"""Probability that a sentence has two names whose types follow only from a later "the former" and "the latter"."""
LONG_NAME = 0.5
"""Probability that an entity has two words, of which the first tells its type; not with `REFERRED`."""


def example(rng: SeededChoice) -> dict[str, Any]:
    """Return an example: the words of a sentence and their tags in IOB2."""
    referred = rng.chance(REFERRED)
    pattern = _reference(rng) if referred else rng.pick(SENTENCES)
    tokens: list[str] = []
    tags: list[int] = []
    for word in pattern.split():
        if word not in FIRST_WORDS:
            tokens.append(word)
            tags.append(0)
            continue
        first = [rng.pick(FIRST_WORDS[word])] if not referred and rng.chance(LONG_NAME) else []
        begin = TAGS.index(f"B-{word}")
        tokens += [*first, rng.pick(NAMES)]
        tags += [begin, *[begin + 1] * len(first)]
    return {"tokens": [*tokens, "."], "tags": [*tags, 0]}


def _reference(rng: SeededChoice) -> str:
    """Return a pattern such as ``PER and LOC : the latter is crowded and the former is late``."""
    types = {"former": rng.pick(tuple(PREDICATES)), "latter": rng.pick(tuple(PREDICATES))}
    clauses = (f"the {which} is {rng.pick(PREDICATES[types[which]])}" for which in rng.shuffled(types))
    return f"{types['former']} and {types['latter']} : {' and '.join(clauses)}"
