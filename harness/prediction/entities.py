"""Entities of texts, from the tags that a token classification model gives to words.

Texts are tokenized and read as in the scoring of a task: a word has the tag of its first token, in the window in which
that has the most context (`harness.tasks.word_windows`). Tags are in IOB2 (``B-PER``, ``I-PER``, ``O``); other names
are read as tags of one word each, of which equal neighbours are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.metrics.word_tags import predicted_tags
from harness.tasks.features import texts_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.tasks.tokenization import TokenizedExamples

OUTSIDE = "O"


@dataclass(frozen=True)
class TaggedWord:
    """A word of a text: its first character, the one after its last, its tag and the probability of that."""

    start: int
    end: int
    tag: str
    score: float


def entities_of_texts(
    texts: Sequence[str | Sequence[str]],
    rows: TokenizedExamples,
    logits: Sequence[NDArray[np.floating[Any]]],
    tags: Sequence[str],
) -> list[list[dict[str, Any]]]:
    """The entities of each text: type, text, start and end (exclusive) in characters, and mean probability.

    Args:
        texts: strings, whose words are those of the tokenizer, or lists of words, which are joined by blanks.
        rows: the tokenized texts, with `places`.
        logits: [n, C] for each row.
        tags: the names of the classes.
    """
    spans = _word_spans(rows, len(texts))
    counts = [max(words, default=-1) + 1 for words in spans]
    found = zip(texts_of(texts), spans, *predicted_tags(rows, logits, tags, counts), strict=True)
    return [
        entities(text, [TaggedWord(*words[word], names[word], shares[word]) for word in sorted(words)])
        for text, words, names, shares in found
    ]


def _word_spans(rows: TokenizedExamples, texts: int) -> list[dict[int, tuple[int, int]]]:
    """Word -> its first character and the one after its last, for the words with tokens of each text."""
    assert rows.places is not None
    spans: list[dict[int, tuple[int, int]]] = [{} for _ in range(texts)]
    for row, text in enumerate(rows.examples.tolist()):
        for word, (_, start, end) in zip(rows.word_ids[row].tolist(), rows.places[row].tolist(), strict=True):
            if word >= 0 and start < end:  # neither special, nor white space alone
                first, last = spans[text].get(word, (start, end))
                spans[text][word] = min(first, start), max(last, end)
    return spans


def entities(text: str, words: Sequence[TaggedWord]) -> list[dict[str, Any]]:
    """Join tagged words to entities: ``B-`` starts one, ``I-`` continues one of the same type or starts one."""
    groups: list[tuple[str, list[TaggedWord]]] = []
    previous = OUTSIDE
    for word in words:
        prefix, kind = _split(word.tag)
        if kind != OUTSIDE:
            if prefix != "B" and previous == kind:
                groups[-1][1].append(word)
            else:
                groups.append((kind, [word]))
        previous = kind
    return [
        {
            "type": kind,
            "text": text[group[0].start : group[-1].end],
            "start": group[0].start,
            "end": group[-1].end,
            "score": float(np.mean([word.score for word in group])),
        }
        for kind, group in groups
    ]


def _split(tag: str) -> tuple[str, str]:
    """``B-PER`` -> (B, PER); a tag without a prefix continues an equal one."""
    prefix, dash, kind = tag.partition("-")
    return (prefix, kind) if dash and prefix in ("B", "I") else ("I", tag)
