"""The check with students of other sizes: the method trains them, or refuses them before training."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from harness.api.errors import UserError, describe
from harness.testing.method_cases import Case, CheckFailed, Subject, gradient_norm

CHANGED_SIZES = {"heads": 2, "hidden": 8, "ffn": 16, "layers": 3}
"""Sizes to try, one at a time, in place of the student's."""


def other_sizes(subject: Subject) -> str:
    """A student with fewer heads or another width or depth works, or is refused with both numbers in the message."""
    student, teacher = subject.sizes
    refused = []
    for name, number in CHANGED_SIZES.items():
        change = f"{name} {number}"
        try:
            cases = subject.cases_for(replace(student, **{name: number}), teacher)
        except UserError as error:
            if len(re.findall(r"\d+", str(error).replace("teacher 1", "teacher"))) < 2:
                raise CheckFailed(f"{change} is refused without the two numbers that do not fit: {error}") from error
            refused.append(f"{change}: {error}")
            continue
        for case in cases:
            _require_finite(case, change)
    return "; ".join(f"refuses {reason}" for reason in refused)


def _require_finite(case: Case, change: str) -> None:
    try:
        terms = case.evaluate().terms
        norms = {name: gradient_norm(case.gradients(term)) for name, term in terms.items()}
    except Exception as error:
        raise CheckFailed(f"{change}, {case}: {describe(error)}; `check` should refuse it before training") from error
    for name, term in terms.items():
        if not math.isfinite(term.item()) or not math.isfinite(norms[name]):
            raise CheckFailed(f"{change}, {case}: {name} is {term.item():.3g} with gradient norm {norms[name]:.3g}")
