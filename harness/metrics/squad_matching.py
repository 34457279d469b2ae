"""Exact match and F1 of one question, as in SQuAD's official scripts."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

PUNCTUATION = str.maketrans("", "", string.punctuation)

ARTICLES = re.compile(r"\b(a|an|the)\b")


def words(text: str) -> list[str]:
    """Return the words after SQuAD's normalization: lower case, no punctuation, no articles."""
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()


def match(text: str, answers: Sequence[str]) -> tuple[float, float]:
    """Return exact match and F1 as in evaluate-v1.1.py: the maximum of each over `answers`; 0 without answers."""
    return _match(words(text), [words(answer) for answer in answers])


def match_v2(text: str, answers: Sequence[str]) -> tuple[float, float]:
    """Return exact match and F1 as in evaluate-v2.0.py.

    Answers without words are ignored. If none remains, a prediction without words scores 1; else it scores 0.
    """
    predicted = words(text)
    references = [answer_words for answer in answers if (answer_words := words(answer))]
    if references and predicted:
        return _match(predicted, references)
    score = float(not references and not predicted)
    return score, score


def _match(predicted: list[str], references: Sequence[list[str]]) -> tuple[float, float]:
    exact = max((float(predicted == reference) for reference in references), default=0.0)
    return exact, max((_f1(predicted, reference) for reference in references), default=0.0)


def _f1(predicted: list[str], reference: list[str]) -> float:
    shared = (Counter(predicted) & Counter(reference)).total()
    return 2 * shared / (len(predicted) + len(reference)) if shared else 0.0
