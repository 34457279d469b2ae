r"""Makes control characters visible: a terminal obeys them, so a file could move its cursor or set its title.

Line breaks and tabs stay as they are.
"""

from __future__ import annotations

import re

_RAW = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_IN_JSON = re.compile(r"\\(?:\\|[bfr]|u00(?:0[0-8b-fB-F]|1[0-9a-fA-F]|7[fF]|[89][0-9a-fA-F]))")
"""An escape of such a character, or an escaped backslash, which must not be taken for the start of one."""


def visible(text: str) -> str:
    r"""Replace each control character by its escape, such as ``\x1b``."""
    return _RAW.sub(_escape, text)


def visible_in_json(document: str) -> str:
    r"""The same for the strings of a JSON document: ``\u001b`` stands for six characters afterwards, not for one."""
    document = _IN_JSON.sub(lambda match: match[0] if match[0] == r"\\" else f"\\{match[0]}", document)
    if document.isascii() and "\x7f" not in document:
        return document
    return re.sub(r"[\x7f-\x9f]", lambda match: f"\\{_escape(match)}", document)


def _escape(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"
