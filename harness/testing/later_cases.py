"""Cases at later steps and after training, where the terms of a method may differ from those of its first step."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from harness.testing.method_cases import Case, Subject
from harness.testing.tiny_runs import trained_states


@lru_cache(maxsize=1)
def cases_over_time(subject: Subject) -> list[Case]:
    """The cases at their first step, and where the terms differ from it: at later steps, and with trained modules."""
    cases = list(subject.cases)
    for first, *later in subject.steps:
        cases += [case for case in later if case.drawn != first.drawn]
        if len(first.teachers) == max(subject.teachers) and (first.has_state or 0 in first.drawn.values()):
            state = trained_states(subject).get(first.stage.name)
            cases += [replace(later[-1], state=state)] if state else []
    return cases
