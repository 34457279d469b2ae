"""Files of a store: one record each, as JSON, which is validated when it is read. A damaged file is a `UserError`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from harness.api.errors import Problem, UserError
from harness.storage import atomic_writes, checksums
from harness.storage.control_characters import visible_in_json
from harness.storage.disk_errors import explained
from harness.storage.frozen_model import FrozenModel
from harness.storage.records import SCHEMA_VERSION, TeacherRecord

if TYPE_CHECKING:
    from pandas import DataFrame

Model = TypeVar("Model", bound=FrozenModel)

REMEDY = (
    "delete it and run the suite again; only missing results are computed (`harness doctor DIR --repair` sets aside"
    " everything that is damaged)"
)


def teacher_name(key: str, fingerprint: str) -> str:
    """Name of the folder of a teacher's record and predictions on the examples with that `data_fingerprint`.

    The key of a teacher does not contain them: its weights do not depend on what it is scored on.
    """
    return f"{key}-{fingerprint}"


class OtherVersionError(UserError):
    """A file was written by a version of kd-harness with another `SCHEMA_VERSION`."""


def read(path: Path, model: type[Model]) -> Model | None:
    """Read and validate a file; None if it does not exist."""
    content = _content(path)
    return None if content is None else _parse(content, path, model)


def read_named(path: Path, model: type[Model]) -> Model | None:
    """Read a record, and check that the file is named by its key; None if it does not exist."""
    record = read(path, model)
    if record is not None:
        _check_key(record, path, path.stem)
    return record


def read_result(path: Path, model: type[Model], refused: bytes | None = None) -> Model | None:
    """Read a record, and check that its folder is named by its key, and that it matches its checksum.

    None if it does not exist.
    Content that does not match is read again before it is `refused`: another process may have replaced the record, with
    its checksum, after the content was read.
    """
    content = _content(path)
    if content is None:
        return None
    record = _parse(content, path, model)
    name = path.parent.name
    if not (isinstance(record, TeacherRecord) and name == teacher_name(record.key, record.data_fingerprint)):
        _check_key(record, path, name)
    try:
        checksums.verify_content(path, content)
    except checksums.CorruptFileError as error:
        if content != refused:
            return read_result(path, model, refused=content)
        raise UserError(Problem(f"{error}; {REMEDY}")) from error
    return record


def write(path: Path, model: FrozenModel) -> None:
    """Write a record, which replaces the file at `path`."""
    atomic_writes.write_text(path, model.model_dump_json(indent=1) + "\n")


def write_table(path: Path, table: DataFrame) -> None:
    """Write a table with a checksum of each page, without its index."""
    atomic_writes.write(path, lambda partial: table.to_parquet(partial, index=False, write_page_checksum=True))


def write_result(
    folder: Path,
    record: FrozenModel,
    predictions: DataFrame | None = None,
    export: Callable[[Path], object] | None = None,
) -> None:
    """Write the data of a result, then its record, and their checksums.

    A file loses its checksum before it is replaced: after a kill at any point it has none or the right one.
    """
    path, table, student = folder / "record.json", folder / "predictions.parquet", folder / "student"
    replaced = [*([table] if predictions is not None else ()), *([student] if export is not None else ())]
    checksums.discard(folder, path, *replaced)
    if predictions is not None:
        write_table(table, predictions)
    if export is not None:
        atomic_writes.write(student, export)
    checksums.add(folder, *(file for data in replaced for file in checksums.files_at(data)))
    write(path, record)
    checksums.add(folder, path)


def _check_key(record: FrozenModel, path: Path, expected: str) -> None:
    key = getattr(record, "key", expected)
    if key != expected:
        raise UserError(Problem(f"the record has key {key}, expected {expected}; {REMEDY}", str(path)))


def _content(path: Path) -> bytes | None:
    """Read a file; None if it does not exist."""
    try:
        with explained(path, can_be_missing=True):
            return path.read_bytes()
    except FileNotFoundError:
        return None


def _parse(content: bytes, path: Path, model: type[Model]) -> Model:
    """Validate the content of the file at `path`. A valid file is parsed once: that halves the time of large stores.

    Control characters in its strings become visible escapes, because boards and messages print the strings.
    """
    try:
        text = visible_in_json(content.decode())
        parsed = model.model_validate_json(text)
    except UnicodeDecodeError as error:
        raise UserError(Problem(f"cannot be read ({error}); {REMEDY}", str(path))) from error
    except ValidationError as error:
        _check_version(_document(text, path), path)
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        name = model.model_config.get("title") or model.__name__
        raise UserError(Problem(f"is not a valid {name}: {key}: {first['msg']}; {REMEDY}", str(path))) from error
    _check_version(parsed.model_dump(include={"schema_version"}, exclude_unset=True), path)
    return parsed


def _document(text: str, path: Path) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(Problem(f"is not valid JSON ({error}); {REMEDY}", str(path))) from error


def _check_version(document: object, path: Path) -> None:
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise (OtherVersionError if type(version) is int else UserError)(
            Problem(
                f"schema_version is {version!r}, expected {SCHEMA_VERSION} by this version of kd-harness; "
                f"use the version that wrote it, or {REMEDY}",
                str(path),
            )
        )
