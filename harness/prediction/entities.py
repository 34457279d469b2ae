"""Entities of texts, from the tags that a token classification model gives to words.

A word has the tag of its first token. A text that is longer than a row is split into overlapping windows; each word is
read in the window in which it is farthest from the ends. Tags are in IOB2 (``B-PER``, ``I-PER``, ``O``); other names
are read as tags of one word each, of which equal neighbours are joined.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.tasks.batching import eval_batches

if TYPE_CHECKING:
    import torch

    from harness.prediction.loaded_model import LoadedModel

OUTSIDE = "O"


@dataclass(frozen=True)
class TaggedWord:
    """A word of a text: its first character, the one after its last, its tag and the probability of that."""

    start: int
    end: int
    tag: str
    score: float


@dataclass(frozen=True)
class _Window:
    """A row of tokens of one text: token ids, and for each word in it the first token and the characters."""

    text: int
    inputs: dict[str, list[int]]
    words: dict[int, tuple[int, int, int]]

    def margin(self, word: int) -> int:
        """Number of tokens between a word and the nearer end of the window."""
        token = self.words[word][0]
        return min(token, len(self.inputs["input_ids"]) - 1 - token)


def entities_of_texts(
    model: LoadedModel, texts: Sequence[str] | Sequence[Sequence[str]], device: torch.device, batch_size: int
) -> list[list[dict[str, Any]]]:
    """The entities of each text: type, text, start and end (exclusive) in characters, and mean probability.

    A text is a string, whose words the tokenizer finds, or a list of words, which are joined by blanks.
    """
    joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
    starts = [None if isinstance(text, str) else _starts(text) for text in texts]
    windows = _windows(model, joined, starts)
    shares = _probabilities(model, windows, device, batch_size)
    nearest: list[dict[int, tuple[int, int]]] = [{} for _ in joined]  # word -> (margin, window)
    for number, window in enumerate(windows):
        for word in window.words:
            nearest[window.text][word] = max(nearest[window.text].get(word, (-1, -1)), (window.margin(word), number))
    found = []
    for text, words in zip(joined, nearest, strict=True):
        tagged = []
        for word, (_, number) in sorted(words.items()):
            token, start, end = windows[number].words[word]
            best = int(shares[number][token].argmax())
            tagged.append(TaggedWord(start, end, model.labels[best], float(shares[number][token][best])))
        found.append(entities(text, tagged))
    return found


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


def _windows(model: LoadedModel, texts: Sequence[str], starts: Sequence[Sequence[int] | None]) -> list[_Window]:
    """The rows of the texts. `starts`: the first character of each word of a text; None: the tokenizer finds them."""
    tokens = model.tokenizer(
        list(texts),
        truncation=True,
        max_length=model.max_length,
        stride=model.max_length // 4,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in tokens]
    windows = []
    for row, text in enumerate(tokens["overflow_to_sample_mapping"]):
        words: dict[int, tuple[int, int, int]] = {}
        for token, found in enumerate(tokens.word_ids(row)):
            start, end = _without_blanks(texts[text], *tokens["offset_mapping"][row][token])
            if found is None or start >= end:  # special tokens, and tokens of white space alone
                continue
            known = starts[text]
            word = found if known is None else bisect_right(known, start) - 1
            first = words.get(word, (token, start, end))
            words[word] = first[0], first[1], max(first[2], end)
        windows.append(_Window(text, {name: tokens[name][row] for name in names}, words))
    return windows


def _starts(words: Sequence[str]) -> list[int]:
    """The first character of each word in the words joined by blanks."""
    return [0, *accumulate(len(word) + 1 for word in words)][: len(words)]


def _without_blanks(text: str, start: int, end: int) -> tuple[int, int]:
    """The place of a token without white space at its ends, which byte-level tokenizers may include."""
    inner = text[start:end]
    return end - len(inner.lstrip()), start + len(inner.rstrip())


def _probabilities(
    model: LoadedModel, windows: Sequence[_Window], device: torch.device, batch_size: int
) -> list[NDArray[np.float64]]:
    """[tokens, classes] for each window."""
    import torch

    shares: list[NDArray[np.float64]] = [np.empty(0)] * len(windows)
    lengths = [len(window.inputs["input_ids"]) for window in windows]
    for rows in eval_batches(lengths, batch_size):
        batch = model.tokenizer.pad([windows[row].inputs for row in rows], return_tensors="pt")
        with torch.inference_mode():
            outputs = model.model(**{name: tensor.to(device) for name, tensor in batch.items()})
        probabilities = outputs.logits.double().softmax(-1).cpu().numpy()
        for place, row in enumerate(rows):
            shares[row] = probabilities[place, : lengths[row]]
    return shares
