"""Reading of CSV, TSV, JSON, JSON lines, parquet and CoNLL files, and of folders of them."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import logging
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any

from harness.api.errors import Problem, UserError
from harness.config.diagnostics import format_value
from harness.config.paths import text_files
from harness.config.task_schema import Format
from harness.config.yaml_tree import display_path
from harness.tasks.tabular.conll import read_conll
from harness.tasks.tabular.lazy_cells import LazyCells
from harness.tasks.tabular.table import Table

log = logging.getLogger(__name__)

FORMATS: Mapping[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".conll": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".bio": "conll",
}
"""Suffix of a file -> its format."""

JSON_LINES = "; if the file has one object on each line, name it .jsonl, or set `format: jsonl` in a suite"

_APPLIES: Mapping[str, frozenset[Format]] = {
    "encoding": frozenset({"csv", "tsv", "json", "jsonl", "conll"}),
    "delimiter": frozenset({"csv", "tsv"}),
    "quoting": frozenset({"csv", "tsv"}),
}
"""Option -> the formats that it applies to."""

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # starts with the mark of utf-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order mark -> the encoding that it tells."""

_CSV_LIMIT = Lock()
"""Guards the maximum length of a cell, a global setting of the csv module."""


@dataclass(frozen=True)
class FileOptions:
    """How to read files; fields as in `harness.config.task_schema.TaskSpec`.

    `text_is_conll`: whether .txt files are in CoNLL format, as data sets of token classification often are.
    """

    format: Format | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None
    quoting: bool = True
    tokens: str = "tokens"
    tags: str = "tags"
    text_is_conll: bool = False

    @property
    def given(self) -> list[str]:
        """The options of some formats that differ from their defaults."""
        default = FileOptions()
        return [name for name in _APPLIES if getattr(self, name) != getattr(default, name)]

    def format_of(self, path: Path) -> Format | None:
        """Return the format of a file, None if its suffix is unknown."""
        if self.format is not None:
            return self.format
        suffix = Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix
        return "conll" if suffix.lower() == ".txt" and self.text_is_conll else FORMATS.get(suffix.lower())


def read_tables(path: str, options: FileOptions) -> list[Table]:
    """Read the file, all files that match the pattern, or all files of the folder `path`, in the order of their names.

    Raises:
        UserError: there is no such file, or one cannot be read.
    """
    return [_not_empty(read_file(file, options)) for file in list_files(path, options)]


def list_files(path: str, options: FileOptions) -> list[Path]:
    """Return the files that `path` names: itself, those that match a pattern, or the known formats in a folder.

    Raises:
        UserError: there are none.
    """
    folder = Path(path)
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        if matches := [Path(name) for name in text_files(path) if Path(name).is_file()]:
            return matches
        raise UserError(f"file not found: {display_path(folder)}")
    visible = [file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith((".", "_"))]
    files = [file for file in visible if options.format_of(file) and file.stem.lower() != "readme"]
    if not files:
        raise UserError(f"{display_path(folder)}: the folder has no files with a suffix of {', '.join(FORMATS)}")
    return files


def refuse_unused(files: Sequence[Path], options: FileOptions) -> None:
    """Raise `UserError` with the options that are given and apply to none of the files.

    A folder may have files of several formats: an option is for those that it applies to.
    """
    formats = {options.format_of(file) for file in files}
    if None in formats:
        return  # an unknown suffix, which is an error when the file is read
    found = f"{' and '.join(sorted(map(str, formats)))} files, such as {display_path(files[0])}"
    problems = [
        Problem(f"has no meaning for {found}; leave it out", name)
        for name in options.given
        if not formats & _APPLIES[name]
    ]
    if problems:
        raise UserError(*problems)


def read_file(path: Path, options: FileOptions) -> Table:
    """Read a file, which may have no rows. Raises `UserError` if it cannot be read, or its format is unknown."""
    where, format = display_path(path), options.format_of(path)
    if format is None:
        raise UserError(
            f"{where}: unknown suffix {path.suffix!r}; allowed: {', '.join(FORMATS)}; convert or rename it, or set"
            " `format` in a suite to csv, tsv, json, jsonl, parquet or conll"
        )
    content = _bytes_of(path, where)
    if format == "parquet":
        return _parquet(content, where)
    text = _decode(content, options.encoding, where)
    if format == "conll":
        return read_conll(text, options.tokens, options.tags, where)
    if format in ("csv", "tsv"):
        return _csv(text, options.delimiter or {"csv": ",", "tsv": "\t"}[format], options.quoting, where)
    return (_json if format == "json" else _json_lines)(text, where)


def _bytes_of(path: Path, where: str) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix.lower() == ".gz" else content
    except FileNotFoundError as error:
        raise UserError(f"file not found: {where}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _decode(content: bytes, encoding: str, where: str) -> str:
    """Decode a text file; a byte order mark is removed."""
    try:
        codec = codecs.lookup(encoding).name
    except (LookupError, ValueError) as error:
        raise _unknown_encoding(encoding) from error
    for mark, name in _MARKS:
        if content.startswith(mark) and codec == "utf-8":
            raise UserError(f"{where}: the file is {name}, not utf-8; set `encoding` to {name}")
    try:
        return content.decode("utf-8-sig" if codec == "utf-8" else codec)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        before = content[max(0, error.start - 20) : error.start].decode("ascii", errors="ignore").split("\n")[-1]
        near = f" after {before!r}" if before else ""
        raise UserError(
            f"{where}, line {line}: byte {content[error.start]:#04x} at position {error.start}{near} is not valid"
            f" {encoding}; set `encoding` to the file's encoding, such as latin-1 or cp1252, or convert the file"
        ) from error
    except LookupError as error:  # such as base64, which is no encoding of texts
        raise _unknown_encoding(encoding) from error
    except UnicodeError as error:
        raise UserError(
            f"{where}: not valid in {encoding}: {error}; set `encoding` to the file's encoding, such as latin-1"
        ) from error


def _unknown_encoding(encoding: str) -> UserError:
    return UserError(f"encoding {encoding!r} is unknown; common ones are utf-8, latin-1, cp1252, utf-16")


@contextmanager
def _unlimited_cells() -> Iterator[None]:
    with _CSV_LIMIT:
        before = csv.field_size_limit(sys.maxsize)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _csv(text: str, delimiter: str, quoting: bool, where: str) -> Table:
    """Parse a file with a header. Every row must have as many cells as the header; blank lines are skipped."""
    text_lines = io.StringIO(text, newline="").readlines()
    reader = csv.reader(
        text_lines,
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE,
        strict=quoting,
    )
    rows, lines = [], []
    start = 1
    with _unlimited_cells():
        try:
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(start)
                start = reader.line_num + 1
        except csv.Error as error:
            raise UserError(
                f"{where}, line {start}: {error}; a cell with {delimiter!r}, line breaks or quotes is enclosed in"
                ' "...", with "" for a quote in it; set `quoting: false` if quotes have no such meaning'
            ) from error
    if not rows:
        raise UserError(f"{where}: the file is empty, expected a header and rows")
    header, rows, lines = rows[0], rows[1:], lines[1:]
    _check_header(header, where)
    _check_delimiter(header, rows, delimiter, where)
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise UserError(
                f"{where}, line {line}: found {len(row)} cells, expected {len(header)}, as in the header"
                f" ({', '.join(header)}); enclose cells with {delimiter!r} in quotes, or set `delimiter`"
            )
    if delimiter == "\t":
        _warn_of_merged_rows(text_lines, lines, len(header), where)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    return Table(where, dict(zip(header, columns, strict=True)), lines)


def _check_header(header: Sequence[str], where: str) -> None:
    duplicates = sorted({name for name in header if header.count(name) > 1})
    if duplicates:
        raise UserError(f"{where}: the header has column {duplicates[0]!r} more than once; rename one of them")


def _check_delimiter(header: Sequence[str], rows: Sequence[Sequence[str]], delimiter: str, where: str) -> None:
    """Raise `UserError` if the header is one cell, and another usual delimiter is in it and in most of the rows."""
    other = next((char for char in ";\t|," if char != delimiter and len(header) == 1 and char in header[0]), None)
    if other is not None and sum(any(other in cell for cell in row) for row in rows) * 2 >= len(rows):
        raise UserError(
            f"{where}: the header is one cell, {header[0]!r}; {other!r} seems to separate the columns: set `delimiter`"
            f" to {other!r}"
        )


def _warn_of_merged_rows(text_lines: Sequence[str], starts: Sequence[int], cells: int, where: str) -> None:
    """Log a warning of rows that span several lines, each of which would be a row if quotes had no meaning.

    Many TSV files have quotes as characters of their texts. One at the start of a cell joins it with all up to the next
    one, labels included. Such a file is well-formed, so it is no error. Other delimiters are usual in texts and tell
    nothing.

    Args:
        text_lines: the lines of the file.
        starts: the line at which each row starts, from 1.
        cells: number of cells of a row.
    """
    merged = []
    for start, end in pairwise([*starts, len(text_lines) + 1]):
        content = [line for line in text_lines[start - 1 : end - 1] if line.strip("\r\n")]
        if len(content) > 1 and cells > 1 and all(line.count("\t") == cells - 1 for line in content):
            merged.append(start)
    if merged:
        log.warning(
            "%s, line %d: quotes join lines that look like rows of their own (%d such rows); if quotes have no meaning"
            " in this file, set `quoting: false` in a suite, or --no-quoting",
            where,
            merged[0],
            len(merged),
        )


def _json_lines(text: str, where: str) -> Table:
    """Parse a file with one JSON object on each line; blank lines are skipped."""
    rows, lines = [], []
    for line, content in enumerate(io.StringIO(text, newline="\n"), start=1):
        if content.strip():
            rows.append(_object(_loads(content.strip(), where, first_line=line), f"{where}, line {line}"))
            lines.append(line)
    return _table(rows, where, lines)


def _json(text: str, where: str) -> Table:
    """Parse a file with a list of JSON objects."""
    rows = _loads(text, where, hint=JSON_LINES if text.lstrip().startswith("{") else "")
    if not isinstance(rows, list):
        raise UserError(f"{where}: expected a list of objects, found {format_value(rows)}{JSON_LINES}")
    return _table([_object(row, f"{where}, row {index}") for index, row in enumerate(rows)], where, None)


def _loads(text: str, where: str, first_line: int = 1, hint: str = "") -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}, line {first_line + error.lineno - 1}: invalid JSON: {error.msg}{hint}") from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise UserError(f"{where}, line {first_line}: cannot be read as JSON: {error}") from error
    except RecursionError as error:
        raise UserError(f"{where}: JSON is nested too deeply") from error


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected an object of columns, found {format_value(row)}")
    return row


def _table(rows: Sequence[Mapping[str, Any]], where: str, lines: Sequence[int] | None) -> Table:
    """Return objects as a table; a key that an object lacks is null."""
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(where, {name: [row.get(name) for row in rows] for name in names}, lines, content=rows)


def _parquet(content: bytes, where: str) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{where}: not a parquet file: {str(error).splitlines()[0]}") from error
    _check_header(table.column_names, where)
    columns = {
        name: LazyCells(len(cells), cells.to_pylist, f"{where}, column {name!r} ({cells.type})")
        for name, cells in zip(table.column_names, table.columns, strict=True)
    }
    return Table(where, columns, content=table)


def _not_empty(table: Table) -> Table:
    if not len(table):
        raise UserError(f"{table.where}: the file has no rows")
    return table
