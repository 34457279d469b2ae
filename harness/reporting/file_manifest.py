"""Writes the files of a report, and remembers them in a manifest, so that later reports remove only these.

The manifest ``report-files.json`` lists every file with the checksum of what was written. A file that someone else
wrote or edited is never removed and never overwritten, and nothing is written or removed through a symbolic link.

A report may also write relative symbolic links, which the manifest lists with the checksum of their target's path. They
are conveniences: where links cannot be created, or something else is at their place, they are left out.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import xxhash
from pydantic import AfterValidator, BaseModel

from harness.api.errors import Problem, UserError
from harness.storage import atomic_writes, checksums

log = logging.getLogger("harness")

NAME = "report-files.json"


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts:
        raise ValueError(f"{name!r} is not a path below the results folder")
    return name


class _Manifest(BaseModel, extra="forbid", strict=True):
    version: int = 1
    files: dict[Annotated[str, AfterValidator(_inside)], list[str]] = {}
    """Path relative to the results folder -> checksums. There are several if a report was interrupted: the file can
    have the content of that report or of the one before."""


@dataclass(frozen=True)
class Link:
    """A symbolic link to `target`, a path relative to the folder of the link."""

    target: str


Content = str | bytes | Callable[[], str] | Link
"""The content of a file, or a link. A function makes it when the file is written, so that not all are in memory at
once."""

_LINK = b"symbolic link to "
"""Precedes the target of a link in what its checksum is computed from."""

CHUNK = 200
"""Files that are written between two updates of the manifest."""


def replace(folder: Path, files: Mapping[str, Content], removable: Collection[str] | None = None) -> None:
    """Write the files of a report, in order, and remove the files of earlier reports that are no longer among them.

    A file that was edited since the last report is kept: where it is, or, if the new report has a file of that name,
    under another name. The log says so. Without a manifest, files of the same name are replaced and none is removed.

    Args:
        folder: the results folder.
        files: path relative to `folder` -> content.
        removable: remove only files with these names; None: any file of the manifest.

    Raises:
        UserError: a symbolic link, or a folder or file of another kind, is in the way. Nothing is changed then.
    """
    known = _read(folder)
    if not files and not known:
        return
    links = {name: content for name, content in files.items() if isinstance(content, Link)}
    names = [name for name in files if name not in links]
    _refuse_obstacles(folder, (NAME, *names), known or {})
    entries = dict(known or {})
    for start in range(0, len(names), CHUNK):
        contents = {name: _bytes(files[name]) for name in names[start : start + CHUNK]}
        entries |= _write_files(folder, contents, entries, is_first=known is None)
    entries |= _write_links(folder, links, entries)
    for name in entries.keys() - files.keys():
        if removable is None or name in removable:
            _remove_unless_edited(folder, name, entries.pop(name))
    _write(folder, entries)


def intact(folder: Path) -> str | None:
    """Return a checksum of the manifest, if all its files are there and as they were written; None otherwise."""
    known = _read(folder)
    if not known:
        return None
    for name, sums in known.items():
        if len(sums) != 1 or _obstacles(folder, name, sums) or not _is_one_of(folder / name, sums):
            return None
    return checksums.of_file(folder / NAME)


def _bytes(content: Content) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, Link):
        return _LINK + content.target.encode()
    return (content if isinstance(content, str) else content()).encode()


def _write_files(
    folder: Path, contents: Mapping[str, bytes], entries: Mapping[str, list[str]], *, is_first: bool
) -> dict[str, list[str]]:
    """Write files whose content has changed; replacing thousands of files takes minutes. Returns their checksums.

    The manifest lists the old and the new checksum of each before it is written, so that an interruption does no harm.
    """
    new = {name: xxhash.xxh3_64_hexdigest(content) for name, content in contents.items()}
    _write(folder, {**entries, **{name: sorted({*entries.get(name, ()), digest}) for name, digest in new.items()}})
    for name, content in contents.items():
        path = folder / name
        if not is_first:
            _set_aside_if_edited(path, {*entries.get(name, ()), new[name]})
        if not (path.exists() and _is_one_of(path, {new[name]})):
            atomic_writes.write_bytes(path, content)
    return {name: [digest] for name, digest in new.items()}


def _write_links(folder: Path, links: Mapping[str, Link], entries: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Write the links that can be written. Returns their checksums. The manifest lists them before, as of files."""
    new = {name: xxhash.xxh3_64_hexdigest(_bytes(link)) for name, link in links.items()}
    known = {name: sorted({*entries.get(name, ()), digest}) for name, digest in new.items()}
    if known:
        _write(folder, {**entries, **known})
    written = {}
    for name, link in links.items():
        digest, path, own = new[name], folder / name, known[name]
        if obstacles := _obstacles(folder, name, own):
            log.warning("%s is not written: %s %s", path, *obstacles[0])
        elif os.path.lexists(path) and not _is_one_of(path, own):
            log.warning("%s is not written: it was edited or is not of a report", path)
        elif _is_one_of(path, {digest}) or _write_link(path, link):
            written[name] = [digest]
    return written


def _write_link(path: Path, link: Link) -> bool:
    """Create or replace a link. Returns False if the file system, or the rights on it, do not allow links."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = atomic_writes.partial_path(path)
    try:
        partial.symlink_to(link.target)
        partial.replace(path)
    except OSError as error:
        atomic_writes.remove(partial)
        log.info("no link %s: %s", path, error)
        return False
    return True


def _read(folder: Path) -> dict[str, list[str]] | None:
    """Return file -> checksums. None: no report wrote a manifest yet, or it is damaged."""
    try:
        return checksums.read_json(folder / NAME, _Manifest).files
    except (FileNotFoundError, checksums.CorruptFileError):
        return None


def _write(folder: Path, files: Mapping[str, list[str]]) -> None:
    checksums.write_json(folder / NAME, _Manifest(files=dict(sorted(files.items()))))


def _refuse_obstacles(folder: Path, names: Collection[str], known: Mapping[str, list[str]]) -> None:
    """Raise `UserError` if a file cannot be written at its path below `folder`, or only through a symbolic link."""
    problems = {path: found for name in names for path, found in _obstacles(folder, name, known.get(name, ()))}
    if problems:
        remedy = "the report has to be written there: move it away, then run `harness report` again"
        raise UserError(*(Problem(f"{found}; {remedy}", str(path)) for path, found in problems.items()))


def _obstacles(folder: Path, name: str, written: Collection[str]) -> list[tuple[Path, str]]:
    """What prevents writing to a path. A link at the path itself with a checksum in `written` is a report's own."""
    path = PurePosixPath(name)
    parents, target = [folder / parent for parent in reversed(path.parents[:-1])], folder / path
    for place in (*parents, target):
        if place == target and place.is_symlink() and _is_one_of(place, written):
            return []
        if place.is_symlink():
            return [(place, f"is a symbolic link to {place.readlink()}, which reports do not follow")]
        if place.exists() and place.is_dir() is (place == target):
            return [(place, "is a folder, expected a file" if place == target else "is a file, expected a folder")]
    return []


def _set_aside_if_edited(path: Path, written: Collection[str]) -> None:
    """Rename a file that no report wrote, since a report is about to replace it."""
    if path.exists() and not _is_one_of(path, written):
        aside = next(free for n in range(1, 10**6) if not (free := path.with_name(f"{path.name}.edited-{n}")).exists())
        path.rename(aside)
        log.warning("%s was edited or is not of a report; it is now %s", path, aside.name)


def _remove_unless_edited(folder: Path, name: str, written: Collection[str]) -> None:
    path = folder / name
    if _obstacles(folder, name, written) or not os.path.lexists(path):
        return
    if _is_one_of(path, written):
        atomic_writes.remove(path)
    else:
        log.warning("%s is not in the report any more; it was edited and is kept", path)


def _is_one_of(path: Path, sums: Collection[str]) -> bool:
    try:
        if path.is_symlink():
            return xxhash.xxh3_64_hexdigest(_LINK + os.fsencode(path.readlink())) in sums
        return checksums.of_file(path) in sums
    except OSError:  # cannot be read: it may be anything
        return False
