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
    return leaf_differences(leaves(old), leaves(new))


def leaf_differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return the same differences as `differences`, from the `leaves` of both."""
    paths = {path for path, _ in old.items() ^ new.items()}
    return [f"{path}: {old.get(path, 'absent')} -> {new.get(path, 'absent')}" for path in sorted(paths)]


def leaves(parts: Mapping[str, Any]) -> dict[str, str]:
    """Return the values in nested mappings as JSON, by their dotted path."""
    return {path: json.dumps(value, sort_keys=True) for path, value in _leaves(parts)}


def _leaves(parts: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(parts, Mapping) and parts:
        for name, value in parts.items():
            yield from _leaves(value, f"{path}.{name}" if path else str(name))
    else:
        yield path, parts
