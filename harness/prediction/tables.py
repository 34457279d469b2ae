"""Reads and writes tables as CSV, TSV, JSON lines or parquet, by extension. Rows and columns keep their order."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.errors import Problem, UserError, nearest
from harness.storage import atomic_writes
from harness.storage.disk_errors import explained

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
"""Extensions of tables."""


def read(path: Path) -> pa.Table:
    """Read a table. The values of CSV and TSV files are strings, as they are in the file.

    Raises:
        UserError: the extension is unknown, the file does not exist, or it cannot be parsed.
    """
    import pyarrow as pa

    reader = {".csv": _read_csv, ".tsv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}[format_of(path)]
    try:
        with explained(path, can_be_missing=True):
            table: pa.Table = reader(path)
    except FileNotFoundError:
        raise UserError(Problem("there is no such file", str(path))) from None
    except UnicodeDecodeError as error:
        raise UserError(
            Problem(f"is not UTF-8 (byte {error.object[error.start]:#04x}); convert the file to UTF-8", str(path))
        ) from error
    except (ValueError, csv.Error, pa.ArrowException) as error:
        raise UserError(Problem(f"cannot be read: {error}", str(path))) from error
    return table


def write(table: pa.Table, path: Path) -> None:
    """Write a table atomically. In CSV and TSV files, lists and mappings are JSON, and a missing value is empty."""
    writer = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[format_of(path)]
    atomic_writes.write_bytes(path, writer(table, path))


def format_of(path: Path) -> str:
    """The extension of a table in lower case. Raises `UserError` if it is none of `FORMATS`."""
    extension = path.suffix.lower()
    if extension not in FORMATS:
        raise UserError(Problem(f"unknown extension {path.suffix!r}; {nearest(extension, FORMATS)}", str(path)))
    return extension


def with_columns(table: pa.Table, columns: Mapping[str, Sequence[Any]]) -> tuple[pa.Table, dict[str, str]]:
    """Append columns. A name that the table has gets the prefix ``predicted_``, so that no value is replaced.

    Returns:
        The table, and old name -> new name for the columns that were renamed.
    """
    import pyarrow as pa

    renamed = {}
    for name, values in columns.items():
        free = name
        while free in table.column_names:
            free = f"predicted_{free}"
        if free != name:
            renamed[name] = free
        table = table.append_column(free, pa.array(values))
    return table, renamed


def _read_csv(path: Path) -> pa.Table:
    import pyarrow as pa

    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file, delimiter=_delimiter(path), strict=True))
    if not rows:
        raise ValueError("it is empty; the first line must name the columns")
    header, *content = rows
    if len({*header}) < len(header):
        raise ValueError(f"its first line names a column twice: {', '.join(header)}")
    content = [row for row in content if row]  # blank lines
    for number, row in enumerate(content, start=1):
        if len(row) != len(header):
            raise ValueError(
                f"row {number} has {len(row)} values, expected {len(header)} (the columns of the first line)"
            )
    columns = zip(*content, strict=True) if content else ([] for _ in header)
    return pa.table({name: pa.array(values, pa.string()) for name, values in zip(header, columns, strict=True)})


def _read_jsonl(path: Path) -> pa.Table:
    import pyarrow as pa

    rows = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                rows.append(_object(line, number))
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} is not valid JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f'line {number}: expected a JSON object, such as {{"text": "..."}}')
    return row


def _read_parquet(path: Path) -> pa.Table:
    from pyarrow import parquet

    return parquet.ParquetFile(path).read()


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _csv(table: pa.Table, path: Path) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=_delimiter(path), lineterminator="\n")
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        writer.writerow([_cell(value) for value in row.values()])
    return text.getvalue().encode()


def _cell(value: object) -> object:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value


def _jsonl(table: pa.Table, path: Path) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in table.to_pylist()).encode()


def _parquet(table: pa.Table, path: Path) -> bytes:
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()
