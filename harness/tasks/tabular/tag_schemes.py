"""Schemes of the tags of token classification: conversion of IOB1, IOBES and BILOU to IOB2."""

from __future__ import annotations

from collections.abc import Sequence

OUTSIDE = "O"

_BEGIN = frozenset("BSU")
"""Prefixes of the first word of an entity, in IOB2, IOBES and BILOU."""

_INSIDE = frozenset("IELM")
"""Prefixes of the other words of an entity."""


def invalid_tag(tag: str) -> bool:
    """Whether a tag is neither ``O`` nor a prefix and a type, such as ``B-PER``."""
    prefix, dash, kind = tag.partition("-")
    return tag != OUTSIDE and (prefix not in _BEGIN | _INSIDE or not dash or not kind)


def to_iob2(tags: Sequence[str]) -> list[str]:
    """Return the tags of a sentence in IOB2, where ``B-`` starts every entity and ``I-`` continues it.

    An inside tag without a word of the same type before it starts an entity, as in IOB1. An entity ends with ``E-``,
    ``L-``, ``S-`` or ``U-`` of IOBES and BILOU: an inside tag after it starts the next one.
    """
    converted = []
    open_kind = None  # type of the entity that the next word may continue
    for tag in tags:
        if tag == OUTSIDE:
            open_kind = None
            converted.append(tag)
            continue
        prefix, _, kind = tag.partition("-")
        starts = prefix in _BEGIN or kind != open_kind
        converted.append(f"{'B' if starts else 'I'}-{kind}")
        open_kind = None if prefix in "SUEL" else kind
    return converted


def iob2_tags(kinds: Sequence[str]) -> tuple[str, ...]:
    """Return all tags of IOB2 for the types of entities: ``O``, then ``B-`` and ``I-`` of each type."""
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in "BI"))
