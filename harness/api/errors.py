"""What a user did wrong, told so that they can mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where it stands, and what would be right.

    `where` is ``file:line`` or the dotted key of a suite; `message` names what was found and what is allowed.
    """

    message: str
    where: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class UserError(Exception):
    """An error that the user can mend: the command line prints its problems without a traceback and exits with 2."""

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = [p if isinstance(p, Problem) else Problem(p) for p in problems]
        super().__init__("\n".join(str(p) for p in self.problems))


def nearest(word: str, allowed: Iterable[str]) -> str:
    """A clause that offers the nearest right spelling, and else all that is allowed: ready to end a message with."""
    names = sorted(allowed)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"allowed: {', '.join(names)}" if names else "nothing is allowed here"
