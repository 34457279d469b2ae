"""Words of messages: nouns that follow a number."""

from __future__ import annotations


def counted(number: float, noun: str) -> str:
    """``1 seed``, ``2 seeds``, ``0.5 epochs``, ``2 forward passes``."""
    plural = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:g} {noun}{plural}" if isinstance(number, float) else f"{number} {noun}{plural}"
