"""Errors that a user can cause, with their location and remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One error message with its location.

    `where` is ``file:line`` or the dotted key of a suite; `message` names what was found and what is allowed.
    """

    message: str
    where: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class UserError(Exception):
    """An error that a user can correct: the commands print its problems without a traceback and exit with code 2."""

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = [p if isinstance(p, Problem) else Problem(p) for p in problems]
        super().__init__("\n".join(str(p) for p in self.problems))


def problem_list(found: Any) -> list[Problem]:
    """Return what a plugin's check found, a sequence or generator of `Problem`s, as a list.

    Raises:
        TypeError: it is something else.
    """
    problems = list(found) if isinstance(found, Iterable) and not isinstance(found, str) else [found]
    for problem in problems:
        if not isinstance(problem, Problem):
            hint = "; return [] if there is none" if problem is None else ""
            raise TypeError(f"expected a list of harness.Problem, found {problem!r}{hint}")
    return problems


def nearest(word: str, allowed: Iterable[str]) -> str:
    """The end of an error message: the nearest valid spelling of `word`, or all allowed values if none is close."""
    names = sorted(allowed)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"allowed: {', '.join(names)}" if names else "no value is allowed here"


def describe(error: BaseException) -> str:
    """Format an exception in one line: type and message."""
    message = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def one_line(error: BaseException) -> str:
    """Format an exception in one line, as records and tables of failures have it: a `UserError` without its type."""
    return " ".join(str(error).split()) if isinstance(error, UserError) else describe(error)


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, without advice that libraries add below; its type if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
