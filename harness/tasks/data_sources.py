"""Loading of data sets from the hub or from local folders in the hub's layout."""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from harness.api.errors import UserError, nearest
from harness.storage.folder_files import files_below
from harness.storage.hub import GATED, download_errors, unavailable_reason
from harness.tasks.type_mismatches import first_type_mismatch

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from datasets.data_files import DataFilesDict

log = logging.getLogger(__name__)

_COMMIT = re.compile(r"[0-9a-f]{40}")

_SPLIT_FILE = re.compile(r"((?:train|validation|test)(?:_\w+)?)(?:-\d{5}-of-\d{5})?\.parquet")
"""Name of a split's file on the hub, such as ``validation_matched-00000-of-00001.parquet``."""

_SAVED_TO_DISK = ("dataset_dict.json", "state.json")
"""Files that `save_to_disk` writes to the folder of a `DatasetDict` or a `Dataset`."""

LAYOUT = (
    "a local folder in the hub's layout (a README.md that names the configs, or one folder of parquet files for each)"
)


def load_source(source: str, config: str | None, *, revision: str | None = None) -> DatasetDict:
    """Load all splits of `config` from `source`, a hub id or a local folder.

    If the hub cannot be reached, the data set is loaded from the cache of `datasets`. `revision` is a branch, tag or
    commit on the hub; None: the newest one.

    Raises:
        UserError: the folder or config does not exist, or the hub cannot be reached and the cache has no copy.
    """
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    if _looks_local(source):
        return _from_folder(Path(source).expanduser(), config)
    reason = unavailable_reason(source, "dataset")
    return _from_cache(source, config, revision, reason) if reason else _from_hub(source, config, revision)


def source_files(source: str | None) -> list[Path] | None:
    """List the files of a local folder; None if it has none, and for a hub id, whose files the hub may change."""
    if source is None or not _looks_local(source):
        return None
    return list(files_below(Path(source).expanduser())) or None


def get_split(data: DatasetDict, split: str, columns: Iterable[str], where: str) -> Dataset:
    """Return one split of `data`; `where` names `data` in messages.

    Raises:
        UserError: there is no such split, or one of `columns` is missing.
    """
    if split not in data:
        raise UserError(f"{where} has no split {split!r}: {nearest(split, data)}")
    existing = data[split].column_names
    for column in columns:
        if column not in existing:
            raise UserError(f"{where}, split {split!r}, has no column {column!r}: {nearest(column, existing)}")
    return data[split]


def _looks_local(source: str) -> bool:
    return source.startswith((".", "/", "~")) or Path(source).is_dir()


@contextmanager
def _load_errors(name: str) -> Iterator[None]:
    """Convert errors of `datasets` and the hub client to a one-line `UserError`."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import GatedRepoError

    try:
        yield
    except GatedRepoError as error:
        raise UserError(f"data set {name!r}: {GATED}") from error
    except (ValueError, DatasetsError, *download_errors()) as error:
        cause = error.__cause__ or error
        text = shorten(str(cause), 300, placeholder=" ...")
        raise UserError(f"data set {name!r} cannot be read: {text}") from error


def _from_folder(folder: Path, config: str | None) -> DatasetDict:
    import datasets

    name = str(folder)
    if not folder.is_dir():
        raise UserError(f"data set folder {name!r} does not exist: `sources:` takes a hub id or {LAYOUT}")
    if any((folder / file).is_file() for file in _SAVED_TO_DISK):
        remedy = "write each split with `Dataset.to_parquet` instead, as `train.parquet` and `validation.parquet`"
        raise UserError(
            f"data set folder {name!r} was written by `save_to_disk`, which is no layout of the hub; {remedy}"
        )
    with _load_errors(name):
        configs = datasets.get_dataset_config_names(name)
        if config is None or config in configs:
            return _load_by_content(name, config)
        if (folder / config).is_dir():
            return _load_by_content(name, data_dir=config)
    allowed = {*configs, *(child.name for child in folder.iterdir() if child.is_dir())} - {"default"}
    raise UserError(f"data set folder {name!r} has no config {config!r}: {nearest(config, allowed)}")


def _load_by_content(folder: str, config: str | None = None, data_dir: str | None = None) -> DatasetDict:
    """Load a local data set, cached under a hash of its files' content.

    For a folder with a README.md, `datasets` hashes the README's metadata alone: it would return outdated data for
    edited files, and the data of another folder with the same README.
    """
    import datasets
    from datasets.exceptions import DatasetGenerationError

    files: dict[str, Any] = {"data_dir": data_dir}
    if data_dir is not None and (splits := _splits_by_name(Path(folder) / data_dir)):
        files = {"data_files": splits}
    with TemporaryDirectory() as scratch:  # an empty cache folder, so that the builder does not use an earlier result
        builder = datasets.load_dataset_builder(folder, config, cache_dir=scratch, **files)
    cache = Path(datasets.config.HF_DATASETS_CACHE) / "by_content" / _content_digest(builder.config.data_files)
    try:
        with _quiet():
            return _load_trimmed(folder, config, cache_dir=str(cache), **files)
    except DatasetGenerationError as error:
        with _quiet():
            mismatch = first_type_mismatch(builder)
        if mismatch is None:
            raise
        where = f"data set {folder!r}, config {config or data_dir!r}"
        raise UserError(f"{where}, {mismatch}; correct these rows, or the types in README.md") from error


def _splits_by_name(folder: Path) -> dict[str, list[str]]:
    """Map the splits to their parquet files, if all files are named as on the hub; else return an empty mapping.

    `datasets` would read the files of ``validation_matched`` and ``validation_mismatched`` as one split.
    """
    splits: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.parquet")):
        match = _SPLIT_FILE.fullmatch(file.name)
        if match is None:
            return {}
        splits.setdefault(match[1], []).append(str(file.resolve()))
    return splits


def _load_trimmed(source: str, config: str | None, **options: Any) -> DatasetDict:
    """Load a data set. Splits and numbers of examples that differ from README.md are logged: files may be trimmed."""
    import datasets
    from datasets.exceptions import SplitsVerificationError

    try:
        return datasets.load_dataset(source, config, **options)
    except SplitsVerificationError:
        data = datasets.load_dataset(source, config, verification_mode="no_checks", **options)
        counts = ", ".join(f"{split} {len(rows)}" for split, rows in data.items())
        log.warning("data set %r: the numbers of examples (%s) differ from those in README.md", source, counts)
        return data


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log of `datasets`: the error is reported as a `UserError` instead."""
    from datasets.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _content_digest(data_files: DataFilesDict) -> str:
    """Return a 32-digit hex hash of the splits' files: of the bytes if local, of the origin (URL, ETag) if remote."""
    digest = hashlib.sha256()
    for split, files in data_files.items():
        digest.update(f"split {split}\n".encode())
        for file, origin in zip(files, files.origin_metadata, strict=True):
            path = Path(file)
            if path.is_file():
                with path.open("rb") as stream:
                    content = hashlib.file_digest(stream, "sha256").hexdigest()
            else:
                content = repr((file, origin))
            digest.update(f"{path.name} {content}\n".encode())
    return digest.hexdigest()[:32]


def _from_hub(source: str, config: str | None, revision: str | None) -> DatasetDict:
    import datasets

    with _load_errors(source):
        configs = datasets.get_dataset_config_names(source, revision=revision)
        if config is None or config in configs:
            return _load_trimmed(source, config, revision=revision)
    raise UserError(f"data set {source!r} on the hub has no config {config!r}: {nearest(config, configs)}")


def _from_cache(source: str, config: str | None, revision: str | None, reason: str) -> DatasetDict:
    """Load the newest copy in the cache, or that of `revision`, which must be a commit."""
    from datasets.packaged_modules.cache.cache import Cache

    if revision is not None and not _COMMIT.fullmatch(revision):
        raise UserError(f"cannot load revision {revision!r} of data set {source!r}: {reason}; give a commit instead")
    try:
        builder = Cache(
            repo_id=source,
            dataset_name=source.split("/")[-1],
            config_name=config,
            version="auto",
            hash=revision or "auto",
        )
    except ValueError as error:
        remedy = f"set `sources:` to {LAYOUT}"
        raise UserError(f"cannot load data set {source!r}: {reason}, and the cache has no copy; {remedy}") from error
    return builder.as_dataset()
