"""Texts of the examples on a page, each stored once."""

from __future__ import annotations

from typing import Any

from harness.reporting.page.example_errors import truncate
from harness.storage.store import Store

MAX_LENGTH = 400
"""Maximum number of characters of a text on the page."""

NAMES = ("text", "text_pair", "question", "context")


class ExampleTexts:
    """Collects the texts of examples from the store in `data`, a list of column name -> text."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.data: list[dict[str, str]] = []
        self._known: dict[str, dict[tuple[str, str], dict[str, str]]] = {}
        self._indices: dict[tuple[str, str, str], int] = {}

    def index(self, fingerprint: str, split: Any, id: Any, answer: str) -> int | None:
        """Return the index of an example's texts in `data`; None if its texts are not stored.

        A long text is cut to the part around `answer`.
        """
        example = (fingerprint, str(split), str(id))
        if example not in self._indices:
            if fingerprint not in self._known:
                self._known[fingerprint] = self._read(fingerprint)
            texts = self._known[fingerprint].get(example[1:])
            if texts is None:
                return None
            self._indices[example] = len(self.data)
            self.data.append({name: _part(text, answer.split(" / ")[0]) for name, text in texts.items()})
        return self._indices[example]

    def _read(self, fingerprint: str) -> dict[tuple[str, str], dict[str, str]]:
        frame = self.store.examples(fingerprint)
        names = [] if frame is None else [name for name in NAMES if name in frame]
        if frame is None or not names:
            return {}
        columns = zip(*(frame[name] for name in names), strict=True)
        texts = (dict(zip(names, map(str, row), strict=True)) for row in columns)
        return dict(zip(zip(frame["split"].map(str), frame["id"].map(str), strict=True), texts, strict=True))


def _part(text: str, answer: str) -> str:
    """Cut a long text to the part around the answer, or to its beginning if the answer does not occur."""
    at = text.find(answer) if answer else -1
    if len(text) <= MAX_LENGTH or at < MAX_LENGTH - len(answer) - 50:
        return truncate(text, MAX_LENGTH)
    begin = max(0, at - MAX_LENGTH // 2)
    return "…" + truncate(text[begin:].lstrip(), MAX_LENGTH - 1)
