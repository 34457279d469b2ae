"""Word vectors in GloVe's text format, and nearest neighbours by cosine similarity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError
from harness.api.lazy_torch import torch

if TYPE_CHECKING:
    from torch import Tensor

SLICE = 64
"""Number of words whose similarities to the table are in memory at once."""


class WordVectors:
    """A table of words with their vectors.

    Args:
        words: the V words, one for each row.
        vectors: their vectors, [V, E].
    """

    def __init__(self, words: Sequence[str], vectors: Tensor) -> None:
        self.words = list(words)
        self.vectors = vectors
        self.rows = {word: row for row, word in enumerate(self.words)}
        self._unit = torch.nn.functional.normalize(vectors, dim=-1)

    def row_of(self, word: str) -> int | None:
        """The row of the word, else the row of its lower case, else None."""
        return self.rows.get(word, self.rows.get(word.lower()))

    def nearest(self, vectors: Tensor, exclude: Sequence[int | None], count: int) -> list[list[str]]:
        """The `count` words with the highest cosine similarity to each of `vectors` [W, E], in the table's order.

        `exclude` has a row for each vector that is left out (the word itself), or None.
        """
        neighbours = []
        for first in range(0, len(vectors), SLICE):
            queries = torch.nn.functional.normalize(vectors[first : first + SLICE], dim=-1)
            similarities = queries @ self._unit.T
            for query, row in enumerate(exclude[first : first + SLICE]):
                if row is not None:
                    similarities[query, row] = -torch.inf
            neighbours += [[self.words[i] for i in rows] for rows in best(similarities, count)]
        return neighbours


def best(scores: Tensor, count: int) -> list[list[int]]:
    """The columns of the `count` highest finite scores of each row, in ascending order.

    The order is that of the columns, not of the scores, so that rounding which swaps two scores does not change it.
    """
    top = scores.topk(min(count, scores.shape[-1]), dim=-1)
    rows = zip(top.indices.tolist(), top.values.isfinite().tolist(), strict=True)
    return [sorted(i for i, real in zip(columns, finite, strict=True) if real) for columns, finite in rows]


def read(path: Path) -> WordVectors:
    """Read a file in GloVe's text format: each line has a word and its numbers, separated by blanks.

    Words may contain blanks, as in some published files. Of duplicate words, the first counts.

    Raises:
        UserError: a line is invalid; the message names the file and the line.
    """
    import numpy as np

    words: dict[str, int] = {}
    rows: list[np.ndarray[tuple[int], np.dtype[np.float32]]] = []
    width: int | None = None
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            where = f"{path}:{number}"
            try:
                fields = raw.decode("utf-8").rstrip("\r\n").rstrip(" ").split(" ")
                width = width if width is not None else len(fields) - 1
                if width < 2 or len(fields) <= width:
                    expected = f"{width}, as in line 1" if width >= 2 else "at least 2"
                    raise UserError(Problem(f"found a word with {len(fields) - 1} numbers, expected {expected}", where))
                row = np.array(fields[-width:], dtype=np.float32)
            except UnicodeDecodeError as error:
                raise UserError(Problem(f"not UTF-8 text: {error.reason}", where)) from error
            except ValueError as error:
                raise UserError(Problem(f"expected a vector of {width} numbers: {error}", where)) from error
            if not np.isfinite(row).all():
                raise UserError(Problem("the vector contains a number that is not finite", where))
            word = " ".join(fields[:-width])
            if word not in words:
                words[word] = len(rows)
                rows.append(row)
    if not rows:
        raise UserError(Problem("the file is empty; expected word vectors in GloVe's text format", str(path)))
    return WordVectors(list(words), torch.from_numpy(np.stack(rows)))
