"""Keys: hashes over all that determines a result, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any


def key(parts: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of the SHA-256 of the parts, written canonically."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What changed between the parts of two keys, as ``path: old -> new``, in the order of the paths."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return [
        f"{path}: {_shown(before, path)} -> {_shown(after, path)}"
        for path in sorted(before.keys() | after.keys())
        if _shown(before, path) != _shown(after, path)
    ]


def _leaves(parts: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(parts, Mapping) and parts:
        for name, value in parts.items():
            yield from _leaves(value, f"{path}.{name}" if path else str(name))
    else:
        yield path, parts


def _shown(leaves: Mapping[str, Any], path: str) -> str:
    return json.dumps(leaves[path], sort_keys=True) if path in leaves else "absent"
