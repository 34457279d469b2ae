"""Builds HTML and SVG; every string that is not `Safe` is escaped."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from typing import Any

VOID = frozenset({"meta", "circle", "line", "polyline", "rect", "wbr"})
"""Elements without content."""


class Safe(str):
    """Markup that is inserted without escaping."""

    __slots__ = ()


Child = str | None | Iterable["Child"]
"""Content of an element: text, markup (`Safe`), nothing, or several of these."""


def el(name: str, *children: Child, **attributes: str | float | bool | None) -> Safe:
    """Return an element. Attribute names use ``_`` for ``-``, and a trailing ``_`` after a Python keyword
    (``class_``, ``data_row``). None and False omit an attribute; True gives one without a value.
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
    """Concatenate children."""
    if children is None:
        return Safe("")
    if isinstance(children, Safe):
        return children
    if isinstance(children, str):
        return Safe(html.escape(children, quote=False))
    return Safe("".join(join(child) for child in children))


def code(text: str) -> Safe:
    """Return a line of text whose parts in backticks become ``<code>``."""
    parts = re.split(r"`([^`]*)`", text)
    return join([el("code", part) if index % 2 else part for index, part in enumerate(parts)])


def embedded(data: Any) -> Safe:
    """Return data as JSON for a ``<script>`` element. Escapes keep it from closing the element or opening a comment.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Safe(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def details_call(*texts: str) -> str:
    """Return a script that passes texts to the page's ``details``, in single quotes: JSON has many double quotes."""
    literals = ("'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'" for text in texts)
    return f"details({','.join(literals)});\n"


def _text(value: str | float) -> str:
    """Format a value; numbers have at most two decimals, enough for SVG."""
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
