"""Seeds that are derived from other seeds, one for each purpose."""

from __future__ import annotations

import hashlib


def derive(seed: int, *purpose: str) -> int:
    """Derive a seed for a purpose, so that random numbers for one purpose never shift those for another."""
    digest = hashlib.sha256("/".join([str(seed), *purpose]).encode()).digest()
    return int.from_bytes(digest[:7], "big")
