"""Answers of extractive QA as data sets write them, located in their contexts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

NEARBY = 10
"""Characters between a wrong start and the place where the answer is, at most, if the context has it in others too."""


class Unusable(Exception):
    """The answers to a question cannot be read or located; the message says what was found."""


@dataclass(frozen=True)
class Answer:
    """An answer as it is written: its text, and where it starts in the context (None: not given)."""

    text: str
    start: int | None


def read(written: Any) -> list[Answer]:
    """The answers to one question.

    Args:
        written: ``{"text": [...], "answer_start": [...]}`` as on the hub, or flat as ``{"text": ..., "answer_start":
            ...}``; a list of ``{"text": ..., "answer_start": ...}`` or of texts; or one text.

    Raises:
        Unusable: it is nothing of these.
    """
    if isinstance(written, dict):
        written = list(_side_by_side(written))
    elif isinstance(written, str):
        written = [written]
    if not isinstance(written, list):
        raise Unusable(shown(written))
    return [_answer(each) for each in written]


def locate(answer: Answer, context: str) -> Answer:
    """The answer where it is in `context`: as it is written, or corrected where only one place can be meant.

    That is where its start counts UTF-8 bytes or UTF-16 units, the one place that has the text, or the one within
    `NEARBY` characters of its start. Blanks around a text are left out: of some tokenizers a token begins with the
    blank before it, so that an answer that ends with a blank would end with the next token.

    Raises:
        Unusable: the context does not have the text, or in several places.
    """
    text, start = answer.text.strip(), answer.start
    if start is not None:
        start += len(answer.text) - len(answer.text.lstrip())
        if start >= 0 and context.startswith(text, start):
            return Answer(text, start)
    if start is not None and (index := _counted_otherwise(text, start, context)) is not None:
        return Answer(text, index)
    places = list(_places(text, context))
    near = [place for place in places if start is not None and abs(place - start) <= NEARBY]
    for candidates in (places, near):
        if len(candidates) == 1:
            return Answer(text, candidates[0])
    where = "without a start" if start is None else f"at {start}"
    count = f"has it in {len(places)} other places" if places else "does not have it"
    raise Unusable(f"{shown(text)} {where}, and the context {count}")


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _side_by_side(written: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Columns of texts and starts as one mapping for each answer."""
    texts, starts = written.get("text"), written.get("answer_start", written.get("start"))
    if isinstance(texts, str):
        texts, starts = [texts], [starts]
    if not isinstance(texts, list) or not isinstance(starts, list | None):
        raise Unusable(shown(written))
    starts = [None] * len(texts) if starts is None else starts
    if len(texts) != len(starts):
        raise Unusable(f"{len(texts)} texts and {len(starts)} starts")
    for text, start in zip(texts, starts, strict=True):
        yield {"text": text, "answer_start": start}


def _answer(written: Any) -> Answer:
    if isinstance(written, str):
        written = {"text": written}
    if not isinstance(written, dict):
        raise Unusable(shown(written))
    text, start = written.get("text"), written.get("answer_start", written.get("start"))
    if isinstance(start, float) and start.is_integer():
        start = int(start)
    if not isinstance(text, str) or not text.strip() or isinstance(start, bool) or not isinstance(start, int | None):
        raise Unusable(shown(written))
    return Answer(text, start)


def _counted_otherwise(text: str, start: int, context: str) -> int | None:
    """The place that `start` means if it does not count characters."""
    for encoding, width in (("utf-8", 1), ("utf-16-le", 2)):
        before = context.encode(encoding)[: max(start, 0) * width].decode(encoding, errors="ignore")
        if start >= 0 and len(before) != start and context.startswith(text, len(before)):
            return len(before)
    return None


def _places(text: str, context: str) -> Iterator[int]:
    place = context.find(text)
    while place >= 0:
        yield place
        place = context.find(text, place + 1)


def located(written: Any, context: str) -> tuple[Sequence[Answer], int]:
    """All answers to a question, and how many of them had to be corrected. Raises `Unusable`."""
    answers = read(written)
    found = [locate(answer, context) for answer in answers]
    return found, sum(before != after for before, after in zip(answers, found, strict=True))
