"""Entities in sequences of tags, and counts of correct ones, as seqeval computes them in its default mode."""

from __future__ import annotations

from collections.abc import Sequence

Entity = tuple[str, int, int]
"""Type of an entity, and the indices of its first and last word."""


def entities(tags: Sequence[str]) -> set[Entity]:
    """Return the entities of one sequence of tags: "O", or a prefix B, I, E or S and the type, as in "B-PER".

    Lenient, like conlleval and seqeval without ``mode="strict"``: an entity also begins with an I (or E) that follows
    "O", the end of an entity, or another type.
    """
    found: set[Entity] = set()
    first, previous, previous_type = 0, "O", ""
    for index, tag in enumerate([*tags, "O"]):
        prefix, type = tag[0], tag[1:].split("-", maxsplit=1)[-1]
        changed = type != previous_type
        if previous != "O" and (previous in "ES" or prefix in "BSO" or changed):
            found.add((previous_type, first, index - 1))
        if prefix in "BS" or (prefix != "O" and (previous in "OES" or changed)):
            first = index
        previous, previous_type = prefix, type
    return found


def entity_counts(predicted: Sequence[str], actual: Sequence[str]) -> tuple[int, int, int]:
    """Return the numbers of correctly predicted, of predicted and of actual entities of one sequence.

    An entity is correct if type, first and last word are.
    """
    ours, theirs = entities(predicted), entities(actual)
    return len(ours & theirs), len(ours), len(theirs)
