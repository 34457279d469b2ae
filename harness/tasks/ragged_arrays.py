"""Rows of unequal length, kept without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Ragged:
    """Rows in one array, so that a whole data set costs two: row i is ``values[starts[i]:starts[i + 1]]``."""

    values: NDArray[Any]
    starts: NDArray[np.int64]

    @staticmethod
    def of(rows: Sequence[ArrayLike], dtype: type[np.generic], width: tuple[int, ...] = ()) -> Ragged:
        """Rows of shape [n, *width] each, any n."""
        arrays = [np.asarray(row, dtype).reshape(-1, *width) for row in rows]
        starts = np.zeros(len(arrays) + 1, dtype=np.int64)
        np.cumsum([len(array) for array in arrays], out=starts[1:])
        return Ragged(np.concatenate([np.zeros((0, *width), dtype), *arrays]), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> NDArray[Any]:
        return self.values[self.starts[row] : self.starts[row + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Int64 [rows]."""
        return np.diff(self.starts)

    def lengths_of(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """Int64 [len(rows)], of these rows alone: at no cost that grows with the data set."""
        index = np.asarray(rows)
        lengths: NDArray[np.int64] = self.starts[index + 1] - self.starts[index]
        return lengths

    def padded(self, rows: Sequence[int], length: int, fill: int | bool) -> NDArray[Any]:
        """The named rows as [len(rows), length, *width], filled up at their ends."""
        block = np.full((len(rows), length, *self.values.shape[1:]), fill, dtype=self.values.dtype)
        for target, row in zip(block, rows, strict=True):
            values = self[row]
            target[: len(values)] = values
        return block


@dataclass(frozen=True, eq=False)
class Strings(Sequence[str]):
    """Texts that take no more memory than their letters, in UTF-8."""

    letters: Ragged

    @staticmethod
    def of(texts: Sequence[str]) -> Strings:
        each = [text.encode() for text in texts]
        starts = np.zeros(len(each) + 1, dtype=np.int64)
        np.cumsum([len(text) for text in each], out=starts[1:])
        return Strings(Ragged(np.frombuffer(b"".join(each), np.uint8), starts))

    def __len__(self) -> int:
        return len(self.letters)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.letters[range(len(self))[index]].tobytes().decode()
