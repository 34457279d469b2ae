"""Parsing of the answers of extractive QA data sets, and their location in the context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MAX_SHIFT = 10
"""Maximum distance, in characters, of a wrong start from its answer, if the answer occurs several times."""


class InvalidAnswerError(Exception):
    """The answers to a question cannot be parsed or located; the message describes what was found."""


@dataclass(frozen=True)
class Answer:
    """The text of an answer, and its first character in the context (None: not in the data)."""

    text: str
    start: int | None


def parse_answers(value: Any) -> list[Answer]:
    """Parse the answers to one question.

    Args:
        value: ``{"text": [...], "answer_start": [...]}`` as on the hub, or flat as ``{"text": ..., "answer_start":
            ...}``; a list of ``{"text": ..., "answer_start": ...}`` or of texts; or one text.

    Raises:
        InvalidAnswerError: the value has none of these forms.
    """
    if isinstance(value, dict):
        value = list(_zip_columns(value))
    elif isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise InvalidAnswerError(short_repr(value))
    return [_answer(item) for item in value]


def locate(answer: Answer, context: str) -> Answer:
    """Return the answer with its start in `context`, corrected if it is wrong and unambiguous.

    A wrong start is corrected if it counts UTF-8 bytes or UTF-16 units, if the text occurs once in the context, or once
    within `MAX_SHIFT` characters of the start. White space around the text is removed: with some tokenizers, a token
    includes the blank before it, so an answer with a trailing blank would end with the next token.

    Raises:
        InvalidAnswerError: the text is not in the context, or it is ambiguous which occurrence is meant.
    """
    text, start = answer.text.strip(), answer.start
    if start is not None:
        start += len(answer.text) - len(answer.text.lstrip())
        if start >= 0 and context.startswith(text, start):
            return Answer(text, start)
    if start is not None and (index := _start_in_other_units(text, start, context)) is not None:
        return Answer(text, index)
    occurrences = list(_occurrences(text, context))
    nearby = [index for index in occurrences if start is not None and abs(index - start) <= MAX_SHIFT]
    for candidates in (occurrences, nearby):
        if len(candidates) == 1:
            return Answer(text, candidates[0])
    where = "without a start" if start is None else f"at {start}"
    count = f"occurs {len(occurrences)} times elsewhere in" if occurrences else "is not in"
    raise InvalidAnswerError(f"{short_repr(text)} {where}, which {count} the context")


def short_repr(value: Any) -> str:
    """Return the `repr` of a value, shortened to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _zip_columns(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Convert a mapping of columns to one mapping for each answer."""
    texts, starts = value.get("text"), value.get("answer_start", value.get("start"))
    if isinstance(texts, str):
        texts, starts = [texts], [starts]
    if not isinstance(texts, list) or not isinstance(starts, list | None):
        raise InvalidAnswerError(short_repr(value))
    starts = [None] * len(texts) if starts is None else starts
    if len(texts) != len(starts):
        raise InvalidAnswerError(f"{len(texts)} texts and {len(starts)} starts")
    for text, start in zip(texts, starts, strict=True):
        yield {"text": text, "answer_start": start}


def _answer(value: Any) -> Answer:
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, dict):
        raise InvalidAnswerError(short_repr(value))
    text, start = value.get("text"), value.get("answer_start", value.get("start"))
    if isinstance(start, float) and start.is_integer():
        start = int(start)
    if not isinstance(text, str) or not text.strip() or isinstance(start, bool) or not isinstance(start, int | None):
        raise InvalidAnswerError(short_repr(value))
    return Answer(text, start)


def _start_in_other_units(text: str, start: int, context: str) -> int | None:
    """Return the answer's start in characters if `start` counts UTF-8 bytes or UTF-16 units; else None."""
    for encoding, width in (("utf-8", 1), ("utf-16-le", 2)):
        before = context.encode(encoding)[: max(start, 0) * width].decode(encoding, errors="ignore")
        if start >= 0 and len(before) != start and context.startswith(text, len(before)):
            return len(before)
    return None


def _occurrences(text: str, context: str) -> Iterator[int]:
    index = context.find(text)
    while index >= 0:
        yield index
        index = context.find(text, index + 1)


def locate_answers(value: Any, context: str) -> tuple[Sequence[Answer], int]:
    """Parse and locate the answers to a question; return them and the number of those with a start that was corrected.

    Raises:
        InvalidAnswerError: an answer cannot be parsed or located.
    """
    answers = parse_answers(value)
    located = [locate(answer, context) for answer in answers]
    pairs = zip(answers, located, strict=True)
    return located, sum(before.start is not None and before != after for before, after in pairs)
