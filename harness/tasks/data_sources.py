"""Data sets from the hub or from local folders in the hub's layout."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TYPE_CHECKING

from harness.api.errors import UserError, nearest
from harness.storage.hub import GATED, download_errors, unavailable_reason
from harness.tasks.type_mismatches import misfit

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from datasets.data_files import DataFilesDict

LAYOUT = (
    "a local folder in the hub's layout (a README.md that names the configs, or one folder of parquet files for each)"
)


def load_source(source: str, config: str | None) -> DatasetDict:
    """All splits of `config` in `source`, a hub id or a local folder.

    A hub id is fetched once; from then on the hub's own cache answers where the hub cannot be reached.

    Raises:
        UserError: there is no such folder or config, or the hub cannot be reached and the cache does not have it.
    """
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    if _looks_local(source):
        return _from_folder(Path(source).expanduser(), config)
    reason = unavailable_reason(source, "dataset")
    return _from_cache(source, config, reason) if reason else _from_hub(source, config)


def get_split(data: DatasetDict, split: str, columns: Iterable[str], where: str) -> Dataset:
    """One split of `data` with its `columns` checked; `where` tells a user what `data` is."""
    if split not in data:
        raise UserError(f"{where} has no split {split!r}: {nearest(split, data)}")
    found = data[split].column_names
    for column in columns:
        if column not in found:
            raise UserError(f"{where}, split {split!r}, has no column {column!r}: {nearest(column, found)}")
    return data[split]


def _looks_local(source: str) -> bool:
    return source.startswith((".", "/", "~")) or Path(source).is_dir()


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Tells in one line what the library could not read."""
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
    with _reading(name):
        configs = datasets.get_dataset_config_names(name)
        if config is None or config in configs:
            return _load_by_content(name, config)
        if (folder / config).is_dir():
            return _load_by_content(name, data_dir=config)
    allowed = {*configs, *(child.name for child in folder.iterdir() if child.is_dir())} - {"default"}
    raise UserError(f"data set folder {name!r} has no config {config!r}: {nearest(config, allowed)}")


def _load_by_content(folder: str, config: str | None = None, data_dir: str | None = None) -> DatasetDict:
    """Load a local data set through a cache whose key is the content of its files.

    The key that `datasets` uses for a folder with a README.md covers the README's metadata alone: edited files, and
    another folder with the same README, would get the data that were cached first.
    """
    import datasets
    from datasets.exceptions import DatasetGenerationError

    with TemporaryDirectory() as scratch:  # a builder reads what its cache folder holds: here nothing
        builder = datasets.load_dataset_builder(folder, config, data_dir=data_dir, cache_dir=scratch)
    cache = Path(datasets.config.HF_DATASETS_CACHE) / "by_content" / _content_digest(builder.config.data_files)
    try:
        with _quiet():
            return datasets.load_dataset(folder, config, data_dir=data_dir, cache_dir=str(cache))
    except DatasetGenerationError as error:
        with _quiet():
            found = misfit(builder)
        if found is None:
            raise
        where = f"data set {folder!r}, config {config or data_dir!r}"
        raise UserError(f"{where}, {found}; correct these rows, or the types in README.md") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what `datasets` logs of an error out of the message that is made of it."""
    from datasets.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _content_digest(data_files: DataFilesDict) -> str:
    """32 hex digits over the splits' files: the bytes of local ones, the origin (URL, ETag) of remote ones."""
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


def _from_hub(source: str, config: str | None) -> DatasetDict:
    import datasets

    with _reading(source):
        configs = datasets.get_dataset_config_names(source)
        if config is None or config in configs:
            return datasets.load_dataset(source, config)
    raise UserError(f"data set {source!r} on the hub has no config {config!r}: {nearest(config, configs)}")


def _from_cache(source: str, config: str | None, reason: str) -> DatasetDict:
    from datasets.packaged_modules.cache.cache import Cache

    try:
        builder = Cache(
            repo_id=source, dataset_name=source.split("/")[-1], config_name=config, version="auto", hash="auto"
        )
    except ValueError as error:
        remedy = f"set `sources:` to {LAYOUT}"
        raise UserError(f"data set {source!r} cannot be had: {reason}, and it is not in the cache; {remedy}") from error
    return builder.as_dataset()
