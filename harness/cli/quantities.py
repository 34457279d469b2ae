"""Parses quantities on the command line: times and numbers of parameters with units."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from harness.api.errors import Problem, UserError

TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
DURATIONS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
COUNTS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


def seconds(value: str, option: str) -> float:
    """``5ms``, ``0.5 s`` or ``800us`` in seconds. Raises `UserError` for anything else."""
    return _quantity(value, option, TIMES, "a time such as 5ms, 0.5s or 800us")


def duration(value: str, option: str) -> float:
    """``30min``, ``2h`` or ``90s`` in seconds. Raises `UserError` for anything else."""
    return _quantity(value, option, DURATIONS, "a duration such as 30min, 2h or 90s")


def count(value: str, option: str) -> int:
    """``20M``, ``500K``, ``1.5B`` or ``20000000``. Raises `UserError` for anything else."""
    return round(_quantity(value, option, COUNTS, "a number such as 20M, 500K or 20000000"))


def _quantity(value: str, option: str, units: Mapping[str, float], expected: str) -> float:
    match = re.fullmatch(r"\s*(\d+(?:_\d+)*(?:\.\d+)?|\.\d+)\s*([a-zµ]*)\s*", value.lower())
    unit = match[2].replace("µ", "u") if match else ""
    if match is None or unit not in units or not math.isfinite(number := float(match[1])) or number <= 0:
        raise UserError(Problem(f"{value!r} is not {expected}", option))
    return number * units[unit]
