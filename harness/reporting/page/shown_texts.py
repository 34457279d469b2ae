"""The texts of the examples that a page shows, each once."""

from __future__ import annotations

from typing import Any

from harness.reporting.page.example_errors import truncate
from harness.storage.store import Store

MAX_LENGTH = 400
"""Characters of a text that are shown."""

NAMES = ("text", "text_pair", "question", "context")


class ExampleTexts:
    """Gives each example the place of its texts in `data`, a list of {name: text}; texts come from the store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.data: list[dict[str, str]] = []
        self._known: dict[str, dict[tuple[str, str], dict[str, str]]] = {}
        self._places: dict[tuple[str, str, str], int] = {}

    def index(self, fingerprint: str, split: Any, id: Any, answer: str) -> int | None:
        """None where its texts were not kept. A long context is shown about `answer`."""
        at = (fingerprint, str(split), str(id))
        if at not in self._places:
            if fingerprint not in self._known:
                self._known[fingerprint] = self._read(fingerprint)
            texts = self._known[fingerprint].get(at[1:])
            if texts is None:
                return None
            self._places[at] = len(self.data)
            self.data.append({name: _part(text, answer.split(" / ")[0]) for name, text in texts.items()})
        return self._places[at]

    def _read(self, fingerprint: str) -> dict[tuple[str, str], dict[str, str]]:
        frame = self.store.examples(fingerprint)
        if frame is None:
            return {}
        names = [name for name in NAMES if name in frame]
        columns = zip(*(frame[name] for name in names), strict=True)
        texts = (dict(zip(names, map(str, row), strict=True)) for row in columns)
        return dict(zip(zip(frame["split"].map(str), frame["id"].map(str), strict=True), texts, strict=True))


def _part(text: str, answer: str) -> str:
    """Of a long text the part about the answer, or else its beginning."""
    at = text.find(answer) if answer else -1
    if len(text) <= MAX_LENGTH or at < MAX_LENGTH - len(answer) - 50:
        return truncate(text, MAX_LENGTH)
    begin = max(0, at - MAX_LENGTH // 2)
    return "…" + truncate(text[begin:].lstrip(), MAX_LENGTH - 1)
