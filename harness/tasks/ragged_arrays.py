"""Ragged arrays: rows of different lengths in one array, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Ragged:
    """A ragged array in two NumPy arrays: row i is ``values[starts[i]:starts[i + 1]]``."""

    values: NDArray[Any]
    starts: NDArray[np.int64]

    @staticmethod
    def of(rows: Sequence[ArrayLike], dtype: type[np.generic], width: tuple[int, ...] = ()) -> Ragged:
        """Build a ragged array from rows of shape [n, *width], any n."""
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
        """Lengths of all rows, int64 [rows]."""
        return np.diff(self.starts)

    def lengths_of(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """Lengths of the given rows, int64 [len(rows)], in time independent of the number of all rows."""
        index = np.asarray(rows)
        lengths: NDArray[np.int64] = self.starts[index + 1] - self.starts[index]
        return lengths

    def padded(self, rows: Sequence[int], length: int, fill: int | bool) -> NDArray[Any]:
        """Return the given rows as [len(rows), length, *width], padded at the end with `fill`."""
        block = np.full((len(rows), length, *self.values.shape[1:]), fill, dtype=self.values.dtype)
        for target, row in zip(block, rows, strict=True):
            values = self[row]
            target[: len(values)] = values
        return block


@dataclass(frozen=True, eq=False)
class Strings(Sequence[str]):
    """An immutable sequence of texts, stored as one UTF-8 array."""

    letters: Ragged

    @staticmethod
    def of(texts: Sequence[str]) -> Strings:
        encoded = [text.encode() for text in texts]
        starts = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(text) for text in encoded], out=starts[1:])
        return Strings(Ragged(np.frombuffer(b"".join(encoded), np.uint8), starts))

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
