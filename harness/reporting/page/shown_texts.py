"""Texts of the examples on a page."""

from __future__ import annotations

from collections.abc import Mapping

from harness.analysis.contrasts import ContrastExample
from harness.analysis.example_errors import WrongExample, truncate
from harness.analysis.summary import Summary
from harness.storage.store import Store

MAX_LENGTH = 400
"""Maximum number of characters of a text on the page."""

NAMES = ("text", "text_pair", "question", "context")

Texts = Mapping[str, str]
"""Column -> text."""


class ExampleTexts:
    """The texts of all examples that the page can show.

    Raises:
        UserError: they cannot be read.
    """

    def __init__(self, store: Store, summary: Summary) -> None:
        shown: dict[str, set[tuple[str, str]]] = {}
        for result in summary.results:
            errors = summary.errors.get(result.key)
            examples = errors.shown if errors else ()
            shown.setdefault(result.data_fingerprint, set()).update((e.split, e.id) for e in examples)
        for contrasts in summary.contrasts.by_task.values() if summary.contrasts else ():
            shown.setdefault(contrasts.fingerprint, set()).update((e.split, e.id) for e in contrasts.examples)
        self._texts = {name: _read(store, name, examples) for name, examples in shown.items() if examples}

    def of(self, fingerprint: str, example: WrongExample | ContrastExample) -> Texts | None:
        """Return the texts of an example, long ones cut to the part around the answer; None if they are not stored."""
        texts = self._texts[fingerprint].get((example.split, example.id))
        return texts and {name: _part(text, example.gold.split(" / ")[0]) for name, text in texts.items()}


class CellTexts:
    """Collects the texts of the examples of a cell in `data`, each once."""

    def __init__(self, texts: ExampleTexts) -> None:
        self.texts = texts
        self.data: list[Texts] = []
        self._indices: dict[tuple[str, str, str], int] = {}

    def index(self, fingerprint: str, example: WrongExample) -> int | None:
        """Return the index of an example's texts in `data`; None if its texts are not stored."""
        known = (fingerprint, example.split, example.id)
        if known not in self._indices:
            texts = self.texts.of(fingerprint, example)
            if texts is None:
                return None
            self._indices[known] = len(self.data)
            self.data.append(texts)
        return self._indices[known]


def _read(store: Store, fingerprint: str, examples: set[tuple[str, str]]) -> dict[tuple[str, str], Texts]:
    """Read the texts of the given (split, id)."""
    frame = store.examples(fingerprint)
    names = [] if frame is None else [name for name in NAMES if name in frame]
    if frame is None or not names:
        return {}
    keys = zip(frame["split"].map(str), frame["id"].map(str), strict=True)
    rows = zip(keys, zip(*(frame[name] for name in names), strict=True), strict=True)
    return {key: dict(zip(names, map(str, row), strict=True)) for key, row in rows if key in examples}


def _part(text: str, answer: str) -> str:
    """Cut a long text to the part around the answer, or to its beginning if the answer does not occur."""
    at = text.find(answer) if answer else -1
    if len(text) <= MAX_LENGTH or at < MAX_LENGTH - len(answer) - 50:
        return truncate(text, MAX_LENGTH)
    begin = max(0, at - MAX_LENGTH // 2)
    return "…" + truncate(text[begin:].lstrip(), MAX_LENGTH - 1)
