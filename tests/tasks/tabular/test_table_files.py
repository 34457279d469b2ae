"""All file formats give the same examples, and say what is wrong with a file."""

import codecs
import gzip
import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from harness.api.errors import UserError
from harness.tasks.tabular.table_files import FileOptions, read_tables
from tests.support.odd_columns import ODD, odd_table

TEXTS = ["plain", "two\nlines", 'a "quote", and a comma', "tab\there", "emoji 🎬👩‍🎤 é", "x" * 300_000]
LABELS = ["a", "b", "a", "b", "a", "b"]
ROWS = pd.DataFrame({"text": TEXTS, "label": LABELS})

WRITERS = {
    "rows.csv": lambda path: ROWS.to_csv(path, index=False),
    "rows.tsv": lambda path: ROWS.to_csv(path, index=False, sep="\t"),
    "rows.json": lambda path: ROWS.to_json(path, orient="records", force_ascii=False),
    "rows.jsonl": lambda path: ROWS.to_json(path, orient="records", lines=True),
    "rows.parquet": lambda path: ROWS.to_parquet(path),
    "rows.csv.gz": lambda path: path.write_bytes(gzip.compress(ROWS.to_csv(index=False).encode())),
}


def read(path, **options):
    return read_tables(str(path), FileOptions(**options))


@pytest.mark.parametrize("name", WRITERS)
def test_all_formats_give_the_same_cells(tmp_path, name):
    WRITERS[name](tmp_path / name)
    (table,) = read(tmp_path / name)
    assert {column: list(cells) for column, cells in table.columns.items()} == ROWS.to_dict("list")


def test_a_folder_is_read_in_the_order_of_names_and_other_files_are_ignored(tmp_path):
    for name in ("b.csv", "a.jsonl", "c.parquet"):
        WRITERS[f"rows.{name[2:]}"](tmp_path / name)
    for name in ("README.md", ".hidden.csv", "notes.docx"):
        (tmp_path / name).write_text("x")
    assert [table.where.rsplit("/")[-1] for table in read(tmp_path)] == ["a.jsonl", "b.csv", "c.parquet"]
    assert [table.where.rsplit("/")[-1] for table in read(tmp_path / "[bc].*")] == ["b.csv", "c.parquet"]


def test_rows_of_text_files_know_their_lines(tmp_path):
    (tmp_path / "rows.csv").write_text('text,label\n"one\ntwo",a\n\nthree,b\n')
    (tmp_path / "rows.jsonl").write_text('\n{"text": "one"}\n\n{"text": "two"}\n')
    assert read(tmp_path / "rows.csv")[0].lines == [2, 5]
    assert read(tmp_path / "rows.jsonl")[0].lines == [2, 4]


def test_lines_that_quotes_join_to_a_row_are_a_warning(tmp_path, caplog):
    rows = ["text\tlabel", "x\t0", '"He left.\t1', 'They said so."\t0', "", '"a\t1', "", 'b"\t0', "x\t1"]
    (tmp_path / "rows.tsv").write_text("\n".join(rows) + "\n")
    assert len(read(tmp_path / "rows.tsv")[0]) == 4
    assert "rows.tsv, line 3: quotes join lines that look like rows of their own (2 such rows)" in caplog.text
    assert "set `quoting: false`" in caplog.text
    caplog.clear()
    assert len(read(tmp_path / "rows.tsv", quoting=False)[0]) == 6
    assert caplog.text == ""


@pytest.mark.parametrize("name", WRITERS)
def test_well_formed_files_have_no_warning(tmp_path, caplog, name):
    WRITERS[name](tmp_path / name)
    read(tmp_path / name)
    (tmp_path / "quoted.csv").write_text('text,label\n"Hello, you\nand you",a\n')
    (tmp_path / "quoted.tsv").write_text('text\tlabel\n"Hello you\nand\tyou"\ta\n\n"a\nb"\tc\n\n\n')
    (tmp_path / "single.tsv").write_text('text\n"Hello\nyou"\n')
    assert [len(read(tmp_path / name)[0]) for name in ("quoted.csv", "quoted.tsv", "single.tsv")] == [1, 2, 1]
    assert caplog.text == ""


def test_quotes_without_meaning(tmp_path):
    (tmp_path / "rows.tsv").write_text('text\tlabel\n"open\ta\nclosed"\tb\n')
    assert list(read(tmp_path / "rows.tsv", quoting=False)[0].columns["text"]) == ['"open', 'closed"']


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig", "cp1252"])
def test_encodings(tmp_path, encoding):
    (tmp_path / "rows.csv").write_bytes("text,label\ncafé,a\n".encode(encoding))
    options = {} if encoding == "utf-8-sig" else {"encoding": encoding}
    (table,) = read(tmp_path / "rows.csv", **options)
    assert {name: list(cells) for name, cells in table.columns.items()} == {"text": ["café"], "label": ["a"]}


INVALID = {
    "latin-1": ("a.csv", "text,label\nok,a\ncafé au lait,b\n".encode("latin-1"), ["line 3", "0xe9", "latin-1"]),
    "utf-16": ("a.csv", "text\nok\n".encode("utf-16"), ["utf-16", "`encoding` to utf-16"]),
    "utf-32": ("a.csv", "text\nok\n".encode("utf-32"), ["utf-32", "`encoding` to utf-32"]),
    "utf-32, big endian": ("a.csv", codecs.BOM_UTF32_BE + "text\n".encode("utf-32-be"), ["`encoding` to utf-32"]),
    "empty": ("a.csv", b"", ["a.csv", "the file is empty"]),
    "header alone": ("a.csv", b"text,label\n", ["a.csv", "no rows"]),
    "too few cells": ("a.csv", b"text,label\nx,a\nno comma\n", ["line 3", "found 1 cells, expected 2"]),
    "too many cells": ("a.csv", b"text,label\na, b,c\n", ["line 2", "found 3 cells", "quotes"]),
    "open quote": ("a.csv", b'text,label\n"never closed,a\nx,b\n', ["line 2", "quoting: false"]),
    "duplicate column": ("a.csv", b"text,text\nx,a\n", ["'text' more than once"]),
    "broken json line": ("a.jsonl", b'{"text": "x"}\n{"text": \n', ["a.jsonl, line 2", "invalid JSON"]),
    "json line with a huge integer": (
        "a.jsonl",
        b'{"a": 1}\n{"a": ' + b"9" * 5000 + b"}\n",
        ["a.jsonl, line 2", "digits"],
    ),
    "json line no object": ("a.jsonl", b'{"text": "x"}\n[1]\n', ["line 2", "expected an object", "a list"]),
    "json of a mapping": ("a.json", b'{"text": ["x"]}', ["expected a list of objects", "`format: jsonl`"]),
    "json lines as json": ("a.json", b'{"text": "x"}\n{"text": "y"}\n', ["a.json, line 2", "set `format: jsonl`"]),
    "parquet": ("a.parquet", b"not parquet", ["a.parquet", "not a parquet file"]),
    "suffix": ("a.xlsx", b"x", ["unknown suffix '.xlsx'", ".csv", "`format`"]),
    "gzip": ("a.csv.gz", b"x", ["cannot be read"]),
    "damaged gzip": ("a.csv.gz", gzip.compress(b"text\nx\n")[:10] + b"\xff" * 20, ["a.csv.gz", "cannot be read"]),
    "cut gzip": ("a.csv.gz", gzip.compress(b"text\nx\n" * 99)[:-12], ["a.csv.gz", "cannot be read"]),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_files(tmp_path, case):
    name, content, words = INVALID[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read(tmp_path / name)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(("name", "words"), [("no.csv", "file not found"), ("empty", "no files with a suffix")])
def test_missing_files(tmp_path, name, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=words):
        read(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-9", "base64", "rot13", "hex", "zip", "a\0"])
def test_an_unknown_encoding(tmp_path, encoding):
    (tmp_path / "a.csv").write_text("text\nx\n")
    with pytest.raises(UserError) as caught:
        read(tmp_path / "a.csv", encoding=encoding)
    assert f"encoding {encoding!r} is unknown" in str(caught.value)


@pytest.mark.parametrize("encoding", ["punycode", "idna", "undefined", "unicode_escape"])
def test_every_encoding_error_is_one_of_the_user(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes(b"text\nxn--\\x\xff..\n")
    with pytest.raises(UserError, match=encoding):
        read(tmp_path / "a.csv", encoding=encoding)


def test_json_keys_that_a_row_lacks_are_null(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"text": "x"}, {"label": 1}]))
    assert read(tmp_path / "a.json")[0].columns == {"text": ["x", None], "label": [None, 1]}


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_header_with_another_delimiter_is_an_error_that_names_it(tmp_path, delimiter):
    file = tmp_path / "reviews.csv"
    file.write_text(f"id{delimiter}review\n1{delimiter}Long, dull.\n2{delimiter}Fine.\n")
    with pytest.raises(UserError, match="the header is one cell") as error:
        read_tables(str(file), FileOptions())
    assert f"set `delimiter` to {delimiter!r}" in str(error.value)


@pytest.mark.parametrize("name", ODD)
def test_values_that_python_lacks_are_an_error_of_their_column_alone(tmp_path, name):
    pq.write_table(odd_table(name, text=list("abcd")), tmp_path / "rows.parquet")
    (table,) = read(tmp_path / "rows.parquet")
    assert len(table) == 4
    assert list(table.column("text", "text")) == list("abcd")
    with pytest.raises(UserError, match=r"rows\.parquet, column 'odd' \(\w.*\): its values cannot be read"):
        list(table.column("odd", "label"))


def test_a_single_column_may_have_any_name(tmp_path):
    file = tmp_path / "texts.csv"
    file.write_text("text;raw\nfine\ndull\n")
    (table,) = read_tables(str(file), FileOptions())
    assert list(table.columns) == ["text;raw"]
