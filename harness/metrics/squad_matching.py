"""What SQuAD's scores are made of: exact match and F1 of words, one question at a time."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence


def words(text: str) -> list[str]:
    """SQuAD's normalisation: lower case, no punctuation, no articles."""
    kept = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def match(text: str, answers: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1, each of the right answer that fits best; 0 where there is none. SQuAD's evaluate-v1.1.py."""
    return _match(words(text), [words(answer) for answer in answers])


def match_v2(text: str, answers: Sequence[str]) -> tuple[float, float]:
    """The same as evaluate-v2.0.py has them. Right answers without words do not count. Where none is left, no words are
    right; to give none is else wrong."""
    predicted = words(text)
    golden = [found for answer in answers if (found := words(answer))]
    if golden and predicted:
        return _match(predicted, golden)
    right = float(not golden and not predicted)
    return right, right


def _match(predicted: list[str], golden: Sequence[list[str]]) -> tuple[float, float]:
    exact = max((float(predicted == right) for right in golden), default=0.0)
    return exact, max((_overlap(predicted, right) for right in golden), default=0.0)


def _overlap(predicted: list[str], golden: list[str]) -> float:
    shared = (Counter(predicted) & Counter(golden)).total()
    return 2 * shared / (len(predicted) + len(golden)) if shared else 0.0
