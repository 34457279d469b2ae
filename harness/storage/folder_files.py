"""The files of a folder, also behind symbolic links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Yield all files of a folder and its subfolders, and those that links refer to.

    A link to one of its own parents is not followed. `above` are the real paths of the parents.

    Raises:
        OSError: a folder does not exist or cannot be read.
    """
    here = os.path.realpath(folder)
    if here in above:
        return
    with os.scandir(folder) as entries:
        children = list(entries)
    for child in children:
        if child.is_dir():
            yield from files_below(Path(child.path), above | {here})
        elif child.is_file():
            yield Path(child.path)
