"""Checks the kinds of task that an author's test names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from harness.api.batch import TaskKind
from harness.api.errors import UserError, nearest

KINDS: tuple[TaskKind, ...] = get_args(TaskKind)
"""Kinds of task that a method is checked on; ``text`` is unlabelled text, for methods with a text stage."""


def require_kinds(kinds: Sequence[str]) -> None:
    """Raise `UserError` unless these are kinds of task: a test of a misspelled one would test something else."""
    if isinstance(kinds, str):
        raise UserError(f"kinds is the string {kinds!r}; expected a list of kinds, such as [{kinds!r}]")
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"there is no kind of task {kind!r}; {nearest(str(kind), KINDS)}")
