"""Chooses the rows of a plot when there are more than it can show readably."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.summary import BoardRow

EVERYTHING = "index.html and leaderboard.csv have all"


def best_rows(rows: Sequence[BoardRow], most: int) -> list[BoardRow]:
    """Return about `most` rows: the first ones of each student, which are its best, in the order of the board."""
    by_student: dict[str, list[BoardRow]] = {}
    for row in rows:
        by_student.setdefault(row.student, []).append(row)
    quota = len(rows) if len(rows) <= most else max(1, most // len(by_student))
    return [row for members in by_student.values() for row in members[:quota]][:most]


def hidden_note(shown: int, total: int, what: str = "rows", which: str = "the best rows of each student") -> str:
    """Return the sentence of a caption that says that not all are shown; empty if they are."""
    return "" if shown >= total else f" Shown: {which}, {shown} of {total} {what}; {EVERYTHING}."
