"""Word vectors, and which words lie nearest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from harness.api.errors import Problem, UserError

SLICE = 64
"""Words whose similarities to the whole table are held at once."""


class WordVectors:
    """A table of words; nearness is the cosine.

    Args:
        words: the table's, one for each row.
        vectors: [V, E].
    """

    def __init__(self, words: Sequence[str], vectors: Tensor) -> None:
        self.words = list(words)
        self.vectors = vectors
        self.rows = {word: row for row, word in enumerate(self.words)}
        self._unit = torch.nn.functional.normalize(vectors, dim=-1)

    def row_of(self, word: str) -> int | None:
        """The word's row, or that of its lower case."""
        return self.rows.get(word, self.rows.get(word.lower()))

    def nearest(self, vectors: Tensor, own: Sequence[int | None], count: int) -> list[list[str]]:
        """The `count` words nearest to each of `vectors` [W, E], but for the word's `own` row; in the table's order."""
        found = []
        for first in range(0, len(vectors), SLICE):
            asked = torch.nn.functional.normalize(vectors[first : first + SLICE], dim=-1)
            similarities = asked @ self._unit.T
            for row, mine in enumerate(own[first : first + SLICE]):
                if mine is not None:
                    similarities[row, mine] = -torch.inf
            found += [[self.words[i] for i in rows] for rows in best(similarities, count)]
        return found


def best(scores: Tensor, count: int) -> list[list[int]]:
    """The columns of the `count` highest finite scores of each row, in ascending order: rounding that makes two of them
    change places makes no difference then."""
    top = scores.topk(min(count, scores.shape[-1]), dim=-1)
    rows = zip(top.indices.tolist(), top.values.isfinite().tolist(), strict=True)
    return [sorted(i for i, real in zip(columns, finite, strict=True) if real) for columns, finite in rows]


def read(path: Path) -> WordVectors:
    """A file in GloVe's text format: in each line a word and its numbers, as many in every line, separated by blanks.

    A word may hold blanks itself (some of the published files have such); of a word that stands twice the first counts.

    Raises:
        UserError: naming the file and the line.
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
                    wanted = f"{width}, as in line 1" if width >= 2 else "at least 2"
                    raise UserError(
                        Problem(f"found a word with {len(fields) - 1} numbers; GloVe's format has {wanted}", where)
                    )
                row = np.array(fields[-width:], dtype=np.float32)
            except UnicodeDecodeError as error:
                raise UserError(Problem(f"is not UTF-8 text: {error.reason}", where)) from error
            except ValueError as error:
                raise UserError(Problem(f"a word's vector should be {width} numbers: {error}", where)) from error
            if not np.isfinite(row).all():
                raise UserError(Problem("a number of the vector is not finite", where))
            word = " ".join(fields[:-width])
            if word not in words:
                words[word] = len(rows)
                rows.append(row)
    if not rows:
        raise UserError(Problem("holds no word vectors; a file in GloVe's text format is needed", str(path)))
    return WordVectors(list(words), torch.from_numpy(np.stack(rows)))
