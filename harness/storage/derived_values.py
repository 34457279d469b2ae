"""Small values that are derived from files, cached until a file changes: fingerprints, results of checks, vocabularies.

A file counts as unchanged if its path and its state are the same, see `file_states`. A value is not cached if one of
its files has changed within the last `SETTLED` seconds. Besides its files, a value depends on the files of the harness
and on the versions of `PACKAGES`. A cache folder that cannot be read or written costs time, and nothing else.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

import harness
from harness.api.errors import UserError
from harness.storage import cache_dir
from harness.storage.file_states import SETTLED, settled_state
from harness.storage.folder_files import files_below
from harness.storage.frozen_model import FrozenModel
from harness.storage.hashing import key

PACKAGES = (
    "datasets",
    "kd-harness",
    "markdown-it-py",
    "matplotlib",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)

STARTED = time.time()
"""When this process imported the module: code that has changed since then may be older in memory than on disk."""

Model = TypeVar("Model", bound=BaseModel)


class _Entry(FrozenModel):
    """The stamp of the files and the value, as JSON."""

    stamp: str
    value: dict[str, Any]


def derived(
    kind: str,
    inputs: object,
    model: type[Model],
    compute: Callable[[], Model],
    *,
    files: Callable[[], Iterable[Path] | None] = tuple,
    state: Callable[[], object] = lambda: None,
    code: Callable[..., object] | None = None,
) -> Model:
    """Return the value that `compute` computes, from the cache if nothing that it depends on has changed.

    A value whose computation logs a warning is not cached, so that the warning is logged every time.

    Args:
        kind: what the value is; a folder of the cache.
        inputs: values that determine it, as JSON.
        model: its class.
        compute: computes it.
        files: lists the files that `compute` reads. None: they are not known, so the value is not cached.
        state: further values that it depends on, as JSON, such as checksums. Unlike other `inputs`, another state
            replaces the cached value. If it raises OSError, the value is not cached.
        code: a function that `compute` calls and that may be from another package than the harness.
    """
    stamp = _stamp(files, state, code)
    if stamp is None:
        return compute()
    path = _path(kind, inputs)
    if (value := _read(path, stamp, model)) is not None:
        return value
    with _Warnings() as warnings:
        value = compute()
    if not warnings.count and _stamp(files, state, code) == stamp:
        _write(path, stamp, value)
    return value


def forget(kind: str, inputs: object) -> None:
    """Remove a value from the cache, if it is there: it has been found to be wrong."""
    with suppress(OSError, UserError):
        _path(kind, inputs).unlink()


def _path(kind: str, inputs: object) -> Path:
    return cache_dir.root() / "derived" / kind / f"{key({'inputs': inputs, 'place': _place()})}.json"


def _read(path: Path, stamp: str, model: type[Model]) -> Model | None:
    from harness.storage import checksums

    try:
        entry = checksums.read_json(path, _Entry)
        return model.model_validate_json(json.dumps(entry.value)) if entry.stamp == stamp else None
    except (OSError, UserError, checksums.CorruptFileError, ValidationError):
        return None


def _write(path: Path, stamp: str, value: BaseModel) -> None:
    from harness.storage import checksums

    with suppress(OSError, UserError):
        checksums.write_json(path, _Entry(stamp=stamp, value=json.loads(value.model_dump_json())))


def _stamp(
    files: Callable[[], Iterable[Path] | None], state: Callable[[], object], code: Callable[..., object] | None
) -> str | None:
    """Return a hash of the state of files, code and packages; None if it is unknown or too recent."""
    codes = [_code_of("harness"), *([_code_of(_package(code))] if code is not None else [])]
    states = None if None in codes else _states(files, before=time.time() - SETTLED)
    if states is None:
        return None
    try:
        return key({"files": states, "state": state(), "code": codes, "packages": _versions()})
    except OSError:
        return None


def _states(files: Callable[[], Iterable[Path] | None], *, before: float) -> list[tuple[Any, ...]] | None:
    """Return name and state of each file; None if one cannot be examined, or has changed after the time `before`."""
    try:
        if (listed := files()) is None:
            return None
        paths = sorted(listed)
        states = [settled_state(path.stat(), before=before) for path in paths]
    except (OSError, UserError):
        return None
    return None if None in states else list(zip(map(str, paths), states, strict=True))


def _package(function: Callable[..., object]) -> str:
    """Return the name of the top-level package of a function, or of that of a `partial`."""
    while hasattr(function, "func"):
        function = function.func
    return str(getattr(function, "__module__", "")).partition(".")[0]


@cache
def _code_of(package: str) -> str | None:
    """Return a hash of the state of a package's files when this process started; None if it is not known."""
    module = sys.modules.get(package)
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    file = getattr(module, "__file__", None)
    if not folders and file is None:
        return None

    def files() -> list[Path]:
        found = [path for folder in folders for path in files_below(folder)]
        return [path for path in found if path.suffix != ".pyc"] if folders else [Path(str(file))]

    states = _states(files, before=STARTED - SETTLED)
    return None if states is None else key({"code": states})


@cache
def _versions() -> tuple[str, ...]:
    return (sys.version, *map(_version, PACKAGES))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _place() -> str:
    """Return the folder of the harness: two installations that share a cache do not replace each other's values."""
    return str(Path(harness.__file__).parent)


class _Warnings(logging.Handler):
    """Counts the warnings of the harness."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def __enter__(self) -> _Warnings:
        logging.getLogger("harness").addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger("harness").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
