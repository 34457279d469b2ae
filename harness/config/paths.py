"""What a suite's values name outside of it: the suite file itself, models and data on the hub or in folders."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.api.errors import Problem, UserError, nearest
from harness.config.diagnostics import found

MAX_PATH_LENGTH = 1000

_HUB_ID = re.compile(r"(?:[A-Za-z0-9_][\w.-]*/)?[A-Za-z0-9_][\w.-]*", re.ASCII)


def shipped_suites() -> dict[str, Path]:
    """The suites that come with the package, by the file's stem."""
    folder = Path(str(importlib.resources.files("harness_suites")))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def locate(path: str | Path) -> Path:
    """The suite file that `path` names: a file, or a shipped suite by its name, with or without ``suites/``.

    Raises `UserError` with the nearest shipped name.
    """
    file = expand_path(str(path), Path())
    if file.is_file():
        return file
    suites = shipped_suites()
    if file.parent in (Path(), Path("suites")) and file.suffix in ("", ".yaml", ".yml") and file.stem in suites:
        return suites[file.stem]
    what = "is a folder, not a suite file" if file.is_dir() else "no such suite file"
    raise UserError(Problem(f"{what}; of the shipped suites, {nearest(file.stem, suites)}", str(path)))


def expand_path(value: str, folder: Path) -> Path:
    """The path that `value` names below `folder`, `~` expanded. Raises `UserError` for what no system has."""
    if not value.strip() or "\0" in value or len(value) > MAX_PATH_LENGTH:
        raise UserError(f"{found(value)} is no path")
    path = Path(value)
    try:
        path = folder / path.expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return path
    except (OSError, RuntimeError, UnicodeError) as error:
        # Too long, links in a circle; a home directory that nobody has; lone surrogates.
        raise UserError(f"{found(value)} is no path: {getattr(error, 'strerror', None) or error}") from error
    return path


def is_path(value: str) -> bool:
    """Whether a value can only be meant as a path."""
    return value.startswith((".", "/", "~")) or value.endswith("/") or "\\" in value


def folder_or_hub(value: str, folders: Iterable[Path]) -> str:
    """The absolute folder that `value` names, or else `value`, a hub id.

    A relative folder is that of the first of `folders` that has it. Raises `UserError` where it is
    neither.
    """
    tried = [expand_path(value, folder).resolve() for folder in folders]
    there = next((path for path in tried if path.is_dir()), None)
    if there is not None:
        return str(there)
    if is_path(value):
        where = " nor ".join(dict.fromkeys(str(path) for path in tried))
        file = next((path for path in tried if path.exists()), None)
        raise UserError(f"{value!r}: {file} is not a folder" if file else f"{value!r}: there is no folder {where}")
    if not _HUB_ID.fullmatch(value) or "--" in value or ".." in value or len(value) > 96:
        raise UserError(f"{value!r} is no folder that exists and no hub id (`name` or `organisation/name`)")
    return value


def text_files(pattern: str) -> list[str]:
    """The files that an absolute path with wildcards means, sorted."""
    path = Path(pattern)
    try:
        return sorted(map(str, Path(path.anchor).glob(str(path.relative_to(path.anchor)))))
    except ValueError:  # `**` beside other characters, which some versions of Python refuse
        return []


def search_folders(written_in: Path) -> Sequence[Path]:
    """Where a relative path is looked for: the working folder, then the folder of the file that it is written in."""
    return (Path.cwd(), written_in)
