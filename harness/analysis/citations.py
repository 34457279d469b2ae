"""The BibTeX entries of the methods on a board, as their plugins give them in `Method.citation`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

START = re.compile(r"^[ \t]*(?=@)", re.MULTILINE)
"""Where an entry begins: at an @ that begins a line."""

KEY = re.compile(r"@\w+\s*[{(]\s*([^\s,{}()]+)\s*,")


@dataclass(frozen=True)
class BibEntry:
    """An entry: its citation key (empty if it is not BibTeX), its text, and the methods that cite it."""

    key: str
    text: str
    methods: tuple[str, ...]


def entries(citations: Mapping[str, str]) -> tuple[BibEntry, ...]:
    """The entries of method -> BibTeX, in the order of the methods; an entry that several methods cite is there once.

    Of entries with one key and different texts the first is kept: BibTeX refuses duplicate keys.
    """
    found: dict[str, BibEntry] = {}
    for method, bibtex in citations.items():
        for text in filter(None, map(str.strip, START.split(bibtex))):
            match = KEY.match(text)
            same = match[1] if match else text
            first = found.get(same, BibEntry(match[1] if match else "", text, ()))
            found[same] = BibEntry(first.key, first.text, tuple(dict.fromkeys((*first.methods, method))))
    return tuple(found.values())


def bibtex(found: Sequence[BibEntry]) -> str:
    """The entries as one file; a comment above each names the methods that cite it. BibTeX ignores what stands between
    entries."""
    return "\n\n".join(f"% {', '.join(entry.methods)}\n{entry.text}" for entry in found)
