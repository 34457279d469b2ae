"""Finds the columns of a data file: text, second text of a pair, and label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.api.errors import Problem, UserError, nearest
from harness.prediction.text_columns import SINGLE, refuse_half_pair, usual_name, usual_pair

LABELS = ("label", "labels", "class", "category", "sentiment", "stars", "rating", "score", "target")
"""Usual names of a label column."""

IDS = ("id", "idx", "index", "guid")
"""Names of columns that are neither text nor label."""


@dataclass(frozen=True)
class DataColumns:
    """The columns of the examples; `text_pair` is None for single texts."""

    text: str
    label: str
    text_pair: str | None = None


def find_columns(
    columns: Mapping[str, Sequence[Any]], *, text: str | None, text_pair: str | None, label: str | None
) -> DataColumns:
    """Return the columns that are given, and guess the others from their names.

    Without usual names, the text is the only column of texts of several words, and the label the only other column.

    Args:
        columns: column -> its cells, or the first ones of them.
        text, text_pair, label: names that the user gives; an empty `text_pair`: there is none.

    Raises:
        UserError: a column does not exist, or cannot be guessed; or `text` is one half of a pair.
    """
    _check_names(columns, {"--text": text, "--text-pair": text_pair or None, "--label": label})
    left = [name for name in columns if name not in (text, text_pair, label) and name.lower() not in IDS]
    label = label or usual_name(left, LABELS)
    left = [name for name in left if name != label]
    refuse_half_pair(text, text_pair, left)
    if text is None:
        pair = usual_pair(left)
        if pair is not None and text_pair is None:
            text, text_pair = pair
        else:
            texts = [name for name in left if _is_text(columns[name])]
            text = usual_name(texts, SINGLE) or _only(texts, "text", columns)
    return DataColumns(
        text, label or _only([name for name in left if name != text], "label", columns), text_pair or None
    )


def _check_names(columns: Mapping[str, Sequence[Any]], given: Mapping[str, str | None]) -> None:
    problems = [
        Problem(f"there is no column {name!r}; {nearest(name, columns)}", option)
        for option, name in given.items()
        if name is not None and name not in columns
    ]
    if problems:
        raise UserError(*problems)


def _only(names: Sequence[str], what: str, columns: Iterable[str]) -> str:
    """The only name. Raises `UserError` if there are several, or none."""
    if len(names) == 1:
        return names[0]
    listed = ", ".join(columns)
    message = f"cannot guess which column is the {what}; name it: --{what} NAME; columns: {listed}"
    raise UserError(Problem(message, f"--{what}"))


def _is_text(cells: Sequence[Any]) -> bool:
    """Whether the cells are texts of several words, as far as the first hundred show; invalid cells may be texts."""
    try:
        texts = [cell for cell in cells[:100] if isinstance(cell, str)]
    except UserError:
        return True
    return bool(texts) and sum(" " in text.strip() for text in texts) > len(texts) / 2
