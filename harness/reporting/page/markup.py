"""HTML and SVG put together so that text cannot become markup: what is no `Safe` is escaped."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from typing import Any

VOID = frozenset({"meta", "circle", "line", "polyline", "rect"})
"""Elements that hold nothing."""


class Safe(str):
    """Markup: goes into a page as it is."""

    __slots__ = ()


Child = str | None | Iterable["Child"]
"""What an element may hold: text, markup (`Safe`), nothing, or several of these."""


def el(name: str, *children: Child, **attributes: str | float | bool | None) -> Safe:
    """An element. Attributes are named as in HTML, with ``_`` for ``-`` and one more ``_`` after a word of Python's
    (``class_``, ``data_row``); None and False leave one out, True has no value.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        parts.append(key if value is True else f'{key}="{html.escape(_text(value))}"')
    start = f"<{' '.join(parts)}>"
    return Safe(f"{start[:-1]} />" if name in VOID else f"{start}{join(children)}</{name}>")


def join(children: Child) -> Safe:
    """Children one after another."""
    if children is None:
        return Safe("")
    if isinstance(children, Safe):
        return children
    if isinstance(children, str):
        return Safe(html.escape(children, quote=False))
    return Safe("".join(join(child) for child in children))


def code(text: str) -> Safe:
    """One line in which `code` stands in backticks."""
    parts = re.split(r"`([^`]*)`", text)
    return join([el("code", part) if odd % 2 else part for odd, part in enumerate(parts)])


def embedded(data: Any) -> Safe:
    """Data as JSON that may stand in a ``<script>``: nothing in it ends that, or begins a comment.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Safe(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _text(value: str | float) -> str:
    """Numbers in SVG need no more than two digits."""
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
