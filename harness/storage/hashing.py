"""Keys: hashes of everything that determines a result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any


def key(parts: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of the parts as canonical JSON."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the differences between the parts of two keys as ``path: old -> new``, sorted by path."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return [
        f"{path}: {_format_leaf(before, path)} -> {_format_leaf(after, path)}"
        for path in sorted(before.keys() | after.keys())
        if _format_leaf(before, path) != _format_leaf(after, path)
    ]


def _leaves(parts: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(parts, Mapping) and parts:
        for name, value in parts.items():
            yield from _leaves(value, f"{path}.{name}" if path else str(name))
    else:
        yield path, parts


def _format_leaf(leaves: Mapping[str, Any], path: str) -> str:
    return json.dumps(leaves[path], sort_keys=True) if path in leaves else "absent"
