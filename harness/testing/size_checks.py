"""The check of students of other sizes: they work, or are refused before training."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from harness.api.errors import UserError
from harness.plugin_host.discovery import describe
from harness.testing.method_cases import Case, CheckFailed, Subject, size

OTHERS = {"heads": 2, "hidden": 8, "ffn": 16, "layers": 3}
"""One at a time, in place of the student's own."""


def other_sizes(subject: Subject) -> str:
    """A student with fewer heads, of another width or depth works, or is refused with both numbers."""
    own, teacher = subject.sizes
    refused = []
    for name, number in OTHERS.items():
        change = f"{name} {number}"
        try:
            cases = subject.on(replace(own, **{name: number}), teacher)
        except UserError as error:
            if len(re.findall(r"\d+", str(error).replace("teacher 1", "teacher"))) < 2:
                raise CheckFailed(f"{change} is refused without the two numbers that do not fit: {error}") from error
            refused.append(f"{change}: {error}")
            continue
        for case in cases:
            _works(case, change)
    return "; ".join(f"refuses {reason}" for reason in refused)


def _works(case: Case, change: str) -> None:
    try:
        terms = case.compute().terms
        sizes = {name: size(case.gradients(term)) for name, term in terms.items()}
    except Exception as error:
        raise CheckFailed(f"{change}, {case}: {describe(error)}; `check` should refuse it before training") from error
    for name, term in terms.items():
        if not math.isfinite(term.item()) or not math.isfinite(sizes[name]):
            raise CheckFailed(f"{change}, {case}: {name} is {term.item():.3g} with a gradient of {sizes[name]:.3g}")
