"""Keys: hashes of everything that determines a result."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_CONSTANTS = {True: "true", False: "false", None: "null"}

ABSENT = "absent"

_encode_any = json.JSONEncoder(sort_keys=True).encode


def _encode(value: Any) -> str:
    """Return a value as JSON. Creating an encoder takes ten times as long as encoding a number."""
    kind = type(value)
    if kind is int or (kind is float and math.isfinite(value)):
        return repr(value)
    return _CONSTANTS[value] if value is None or kind is bool else _encode_any(value)


def key(parts: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of the parts as canonical JSON."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Change(NamedTuple):
    """A value that differs: its dotted path, and the old and the new value as JSON, or `ABSENT`."""

    path: str
    old: str
    new: str


class ComparedParts:
    """The parts of a key, prepared for many comparisons: parts with equal JSON are not compared value by value."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._parts = parts
        self._texts = {name: _encode(value) for name, value in parts.items()}
        self._leaves: dict[str, dict[str, str]] = {}

    def differences(self, new: ComparedParts) -> list[str]:
        """Return the differences from these parts to `new` as ``path: old -> new``, sorted by path."""
        return [f"{path}: {old} -> {text}" for path, old, text in self.changes(new)]

    def changes(self, new: ComparedParts) -> list[Change]:
        """Return the differences from these parts to `new`, sorted by path."""
        names = {name for name, _ in self._texts.items() ^ new._texts.items()}
        before = {path: text for name in names for path, text in self._leaves_of(name).items()}
        after = {path: text for name in names for path, text in new._leaves_of(name).items()}
        paths = {path for path, _ in before.items() ^ after.items()}
        return [Change(path, before.get(path, ABSENT), after.get(path, ABSENT)) for path in sorted(paths)]

    def _leaves_of(self, name: str) -> dict[str, str]:
        """Return the values of one part as JSON, by their dotted path; empty if there is no such part."""
        if name not in self._leaves and name in self._parts:
            leaves = _leaves(self._parts[name], name)
            self._leaves[name] = {path: _encode(value) for path, value in leaves}
        return self._leaves.get(name, {})


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the differences between the parts of two keys as ``path: old -> new``, sorted by path."""
    return ComparedParts(old).differences(ComparedParts(new))


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Return the differences between the parts of two keys, sorted by path."""
    return ComparedParts(old).changes(ComparedParts(new))


def _leaves(parts: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(parts, Mapping) and parts:
        for name, value in parts.items():
            yield from _leaves(value, f"{path}.{name}")
    else:
        yield path, parts
