"""Tables that are read, extended by columns and written. Rows and columns keep their order."""

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
from harness.tasks.tabular import table_files
from harness.tasks.tabular.lazy_cells import python_values
from harness.tasks.tabular.table_files import FileOptions

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
"""Extensions of tables that can be written."""

Objects = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Table:
    """A table as its file has it.

    Attributes:
        names: names of the columns.
        content: the typed columns of parquet; or rows, of which those of JSON may lack names and have values of any
            types, and which Arrow would change.
    """

    names: Sequence[str]
    content: pa.Table | Objects

    def __len__(self) -> int:
        return len(self.content)

    def column(self, name: str) -> list[Any]:
        """The values of a column; None where a row has none. Raises `UserError` as `python_values`."""
        if isinstance(self.content, Sequence):
            return [row.get(name) for row in self.content]
        cells = self.content[name]
        return python_values(cells.to_pylist, f"column {name!r} ({cells.type})")

    def rows(self) -> Objects:
        """The rows, name -> value. Raises `UserError` as `column`."""
        if isinstance(self.content, Sequence):
            return self.content
        return _rows({name: self.column(name) for name in self.names})

    def storable(self, path: Path) -> Table:
        """The table as a file at `path` can hold it: with typed columns for parquet, else with rows.

        Raises:
            UserError: the extension is unknown, or the format cannot hold a column.
        """
        if format_of(path) == ".parquet":
            return Table(self.names, self.arrow())
        try:
            return Table(self.names, self.rows())
        except UserError as error:
            remedy = "; or write to a .parquet file, which can hold them"
            raise UserError(*(Problem(one.message + remedy, one.where) for one in error.problems)) from error

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


def read(path: Path, options: FileOptions | None = None) -> Table:
    """Read a table. The values of CSV and TSV files are strings, as they are in the file.

    Raises:
        UserError: the file does not exist, cannot be parsed, or has characters that cannot be written; or an option
            does not apply to its format.
    """
    options = options or FileOptions()
    table_files.refuse_unused([path], options)
    table = table_files.read_file(path, options)
    if table.content is not None and not isinstance(table.content, Sequence):
        return Table(list(table.columns), table.content)
    rows = _rows(table.columns) if table.content is None else table.content
    for row, content in enumerate(rows):
        try:
            json.dumps(content, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            place = f"line {table.lines[row]}" if table.lines else f"row {row}"
            half = ascii(error.object[error.start])
            message = f"{table.where}, {place}: has half of a surrogate pair, {half}, which is no character"
            raise UserError(message) from error
    return Table(list(table.columns), rows)


def _rows(columns: Mapping[str, Sequence[Any]]) -> Objects:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


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
