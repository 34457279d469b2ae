"""Seeds derived from other seeds, one for each purpose."""

from __future__ import annotations

import hashlib


def derive(seed: int, *purpose: str) -> int:
    """A seed of its own for each purpose, so that what one draws never shifts what another draws."""
    digest = hashlib.sha256("/".join([str(seed), *purpose]).encode()).digest()
    return int.from_bytes(digest[:7], "big")
