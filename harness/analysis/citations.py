"""BibTeX entries of the methods on a board, from `Method.citation`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

START = re.compile(r"^[ \t]*(?=@)", re.MULTILINE)
"""Start of an entry: an @ at the start of a line."""

KEY = re.compile(r"@\w+\s*[{(]\s*([^\s,{}()]+)\s*,")


@dataclass(frozen=True)
class BibEntry:
    """A BibTeX entry: citation key (empty if `text` is not BibTeX), text, and the methods that cite it."""

    key: str
    text: str
    methods: tuple[str, ...]


def entries(citations: Mapping[str, str]) -> tuple[BibEntry, ...]:
    """Parse method -> BibTeX into entries, in the order of the methods. An entry cited by several methods occurs once.

    If entries have the same key and different texts, the first one is used: BibTeX refuses duplicate keys.
    """
    by_key: dict[str, BibEntry] = {}
    for method, bibtex in citations.items():
        for text in filter(None, map(str.strip, START.split(bibtex))):
            match = KEY.match(text)
            identity = match[1] if match else text
            first = by_key.get(identity, BibEntry(match[1] if match else "", text, ()))
            by_key[identity] = BibEntry(first.key, first.text, tuple(dict.fromkeys((*first.methods, method))))
    return tuple(by_key.values())


def bibtex(entries: Sequence[BibEntry]) -> str:
    """The text of a .bib file. A comment above each entry names the methods that cite it; BibTeX ignores text between
    entries."""
    return "\n\n".join(f"% {', '.join(entry.methods)}\n{entry.text}" for entry in entries)
