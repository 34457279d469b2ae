"""Reads and writes tables as CSV, TSV, JSON lines or parquet, by extension. Rows and columns keep their order."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.errors import Problem, UserError, nearest
from harness.storage import atomic_writes
from harness.storage.disk_errors import explained

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
"""Extensions of tables."""

Objects = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Table:
    """A table as its file has it.

    Attributes:
        names: names of the columns.
        content: typed columns; or the objects of JSON lines, which may lack names and have values of any types, and
            which Arrow would change.
    """

    names: Sequence[str]
    content: pa.Table | Objects

    def __len__(self) -> int:
        return len(self.content)

    def column(self, name: str) -> list[Any]:
        """The values of a column; None where a row has none."""
        if isinstance(self.content, Sequence):
            return [row.get(name) for row in self.content]
        values: list[Any] = self.content[name].to_pylist()
        return values

    def rows(self) -> Objects:
        """The rows, name -> value."""
        if isinstance(self.content, Sequence):
            return self.content
        rows: list[dict[str, Any]] = self.content.to_pylist()
        return rows

    def storable(self, path: Path) -> Table:
        """The table as a file at `path` can hold it: with typed columns for parquet, else as it is.

        Raises:
            UserError: the extension is unknown, or parquet cannot hold a column.
        """
        return Table(self.names, self.arrow()) if format_of(path) == ".parquet" else self

    def arrow(self) -> pa.Table:
        """The typed columns.

        Raises:
            UserError: the values of a column have no common type, or none that parquet has.
        """
        import pyarrow as pa

        if not isinstance(self.content, Sequence):
            return self.content
        columns = {}
        for name in self.names:
            try:
                columns[name] = pa.array(self.column(name))
                _parquet_bytes(pa.table({name: columns[name][:0]}))  # parquet has no objects without keys
            except (pa.ArrowException, OverflowError) as error:
                message = f"parquet cannot hold its values ({error}); write to a .jsonl file instead"
                raise UserError(Problem(message, f"column {name!r}")) from error
        return pa.table(columns)

    def with_columns(self, columns: Mapping[str, Sequence[Any]]) -> tuple[Table, dict[str, str]]:
        """Append columns. A name that the table has gets the prefix ``predicted_``, so that no value is replaced.

        Returns:
            The table, and old name -> new name for the columns that were renamed.
        """
        names = list(self.names)
        for name in columns:
            while name in names:
                name = f"predicted_{name}"
            names.append(name)
        added = names[len(self.names) :]
        renamed = {old: new for old, new in zip(columns, added, strict=True) if old != new}
        return Table(names, self._extended(dict(zip(added, columns.values(), strict=True)))), renamed

    def _extended(self, columns: Mapping[str, Sequence[Any]]) -> pa.Table | Objects:
        import pyarrow as pa

        if isinstance(self.content, Sequence):
            values = zip(*columns.values(), strict=True) if columns else [()] * len(self)
            return [
                {**row, **dict(zip(columns, new, strict=True))} for row, new in zip(self.content, values, strict=True)
            ]
        table = self.content
        for name, new in columns.items():
            table = table.append_column(name, pa.array(new))
        return table


def read(path: Path) -> Table:
    """Read a table. The values of CSV and TSV files are strings, as they are in the file.

    Raises:
        UserError: the extension is unknown, the file does not exist, or it cannot be parsed.
    """
    import pyarrow as pa

    reader = {".csv": _read_csv, ".tsv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}[format_of(path)]
    try:
        with explained(path, can_be_missing=True):
            table: Table = reader(path)
    except FileNotFoundError:
        raise UserError(Problem("there is no such file", str(path))) from None
    except UnicodeDecodeError as error:
        raise UserError(
            Problem(f"is not UTF-8 (byte {error.object[error.start]:#04x}); convert the file to UTF-8", str(path))
        ) from error
    except (ValueError, csv.Error, pa.ArrowException) as error:
        raise UserError(Problem(f"cannot be read: {error}", str(path))) from error
    return table


def write(table: Table, path: Path) -> None:
    """Write a table atomically. In CSV and TSV files, lists and mappings are JSON, and a missing value is empty.

    Raises:
        UserError: the extension is unknown, or parquet cannot hold a column.
    """
    writer = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[format_of(path)]
    atomic_writes.write_bytes(path, writer(table, path))


def format_of(path: Path) -> str:
    """The extension of a table in lower case. Raises `UserError` if it is none of `FORMATS`."""
    extension = path.suffix.lower()
    if extension not in FORMATS:
        raise UserError(Problem(f"unknown extension {path.suffix!r}; {nearest(extension, FORMATS)}", str(path)))
    return extension


def _read_csv(path: Path) -> Table:
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
    arrays = [pa.array(values, pa.string()) for values in columns]
    return Table(header, pa.table(arrays, names=header))


def _read_jsonl(path: Path) -> Table:
    rows = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                rows.append(_object(line, number))
    return Table(list(dict.fromkeys(name for row in rows for name in row)), rows)


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number} is not valid JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f'line {number}: expected a JSON object, such as {{"text": "..."}}')
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise ValueError(f"line {number} has half of a surrogate pair, {half}, which is no character") from error
    return row


def _read_parquet(path: Path) -> Table:
    from pyarrow import parquet

    content = parquet.ParquetFile(path).read()
    return Table(content.column_names, content)


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


class _Lines(io.StringIO):
    """Rows of a csv writer with "\\n" at their end, in place of its line terminator.

    The writer quotes cells with characters of its terminator: with "\\n" alone, a cell with "\\r" would end its row.
    """

    TERMINATOR = "\r\n"

    def write(self, row: str) -> int:
        return super().write(row.removesuffix(self.TERMINATOR) + "\n")


def _csv(table: Table, path: Path) -> bytes:
    text = _Lines(newline="")
    writer = csv.writer(text, delimiter=_delimiter(path), lineterminator=_Lines.TERMINATOR)
    writer.writerow(table.names)
    for row in table.rows():
        writer.writerow([_cell(row.get(name)) for name in table.names])
    return text.getvalue().encode()


def _cell(value: object) -> object:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value


def _jsonl(table: Table, path: Path) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in table.rows()).encode()


def _parquet(table: Table, path: Path) -> bytes:
    return _parquet_bytes(table.arrow())


def _parquet_bytes(table: pa.Table) -> bytes:
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()
