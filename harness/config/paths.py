"""Resolves paths and hub ids: suite files, model and data folders, text files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.api.errors import Problem, UserError, nearest
from harness.config.diagnostics import format_value
from harness.config.shipped_suites import shipped_suite, shipped_suites

MAX_PATH_LENGTH = 1000
"""In characters."""

_HUB_ID = re.compile(r"(?:[A-Za-z0-9_][\w.-]*/)?[A-Za-z0-9_][\w.-]*", re.ASCII)


def locate(path: str | Path) -> Path:
    """Find the suite file that `path` names: a file, or a shipped suite, with or without ``suites/`` and ``.yaml``.

    Raises `UserError` with the nearest shipped name if there is no such file.
    """
    file = expand_path(str(path), Path())
    if file.is_file():
        return file
    if shipped := shipped_suite(file):
        return shipped
    found = "is a folder, expected a suite file" if file.is_dir() else "no such file, and no shipped suite of this name"
    hint = nearest(file.stem, shipped_suites()).replace("allowed:", "shipped suites:", 1)
    raise UserError(Problem(f"{found}; {hint}", str(path)))


def expand_path(value: str, folder: Path) -> Path:
    """Join `value` to `folder` and expand `~`. The file need not exist. Raises `UserError` if the path is invalid."""
    if not value.strip() or "\0" in value or len(value) > MAX_PATH_LENGTH:
        raise UserError(f"{format_value(value)} is not a valid path")
    path = Path(value)
    try:
        path = folder / path.expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return path
    except (OSError, RuntimeError, UnicodeError) as error:
        # A component that is too long, a symlink loop, an unknown home directory, lone surrogates.
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{format_value(value)} is not a valid path: {reason}") from error
    return path


def is_path(value: str) -> bool:
    """Whether a value is written as a path, so that it cannot be a hub id."""
    return value.startswith((".", "/", "~")) or value.endswith("/") or "\\" in value


def folder_or_hub(value: str, folders: Iterable[Path]) -> str:
    """Return the absolute folder that `value` names, or `value` itself if it is a hub id.

    A relative path is searched in `folders`, in order. Raises `UserError` if there is no such folder and `value`
    is not a valid hub id.
    """
    candidates = [expand_path(value, folder).resolve() for folder in folders]
    folder = next((path for path in candidates if path.is_dir()), None)
    if folder is not None:
        return str(folder)
    if is_path(value):
        searched = " or ".join(dict.fromkeys(str(path) for path in candidates))
        file = next((path for path in candidates if path.exists()), None)
        raise UserError(f"{value!r}: {file} is not a folder" if file else f"{value!r}: folder not found: {searched}")
    if not _HUB_ID.fullmatch(value) or "--" in value or ".." in value or len(value) > 96:
        raise UserError(f"{value!r} is neither an existing folder nor a hub id (`name` or `organization/name`)")
    return value


def text_files(pattern: str) -> list[str]:
    """List the files that match an absolute path with wildcards, sorted.

    Parts that exist as they are written are no wildcards, such as the folder ``data [1]``.
    """
    path = Path(pattern)
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    if existing == path:
        return [str(path)]
    try:
        return sorted(map(str, existing.glob(str(path.relative_to(existing)))))
    except ValueError:  # `**` mixed with other characters: an error in Python 3.12 and older
        return []


def find_files(value: str, folders: Iterable[Path]) -> str:
    """Return the absolute path of the file, folder or pattern `value` in the first of `folders` that has it.

    Raises:
        UserError: none has it; the message names a similar file, if there is one.
    """
    candidates = list(dict.fromkeys(expand_path(value, folder).resolve() for folder in folders))
    for path in candidates:
        if path.exists() or text_files(str(path)):
            return str(path)
    places = " or ".join(map(str, candidates))
    near = {sibling.name for path in candidates if path.parent.is_dir() for sibling in path.parent.iterdir()}
    hint = nearest(candidates[0].name, near)
    raise UserError(f"file not found: {places}" + (f"; {hint}" if hint.startswith("did you mean") else ""))


def search_folders(file_folder: Path) -> Sequence[Path]:
    """Return the folders to search for a relative path: the working folder, then `file_folder`, that of the file."""
    return (Path.cwd(), file_folder)
