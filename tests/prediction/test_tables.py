"""Tables keep rows, columns and values in every format."""

import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from harness.api.errors import UserError
from harness.prediction import tables

ROWS = [
    {"id": "01", "text": 'He said "no",\nthen left.', "note": ""},
    {"id": "2", "text": "tab\there, 🙂 naïve", "note": "NA"},
    {"id": "3", "text": "", "note": "null"},
]


@pytest.mark.parametrize("first", tables.FORMATS)
@pytest.mark.parametrize("second", tables.FORMATS)
def test_values_survive_all_formats(tmp_path, first, second):
    tables.write(pa.Table.from_pylist(ROWS), tmp_path / f"a{first}")
    tables.write(tables.read(tmp_path / f"a{first}"), tmp_path / f"b{second}")
    assert tables.read(tmp_path / f"b{second}").to_pylist() == ROWS


def test_parquet_keeps_types_and_csv_keeps_strings(tmp_path):
    table = pa.table({"n": pa.array([1, 2], pa.int8()), "tags": [["a", "b"], []]})
    tables.write(table, tmp_path / "a.parquet")
    assert parquet.read_table(tmp_path / "a.parquet").schema.field("n").type == pa.int8()
    tables.write(table, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == 'n,tags\n1,"[""a"", ""b""]"\n2,[]\n'


def test_jsonl_rows_may_lack_keys(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{"text": "b", "more": {"x": [1]}}\n')
    assert tables.read(tmp_path / "a.jsonl").to_pylist() == [
        {"text": "a", "more": None},
        {"text": "b", "more": {"x": [1]}},
    ]


def test_a_byte_order_mark_is_not_part_of_a_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftext\r\nhello\r\n")
    assert tables.read(tmp_path / "a.csv").to_pylist() == [{"text": "hello"}]


def test_a_new_column_never_replaces_one(tmp_path):
    table, renamed = tables.with_columns(
        pa.table({"label": [1], "predicted_label": [2]}), {"label": ["x"], "score": [0.5]}
    )
    assert table.to_pylist() == [{"label": 1, "predicted_label": 2, "predicted_predicted_label": "x", "score": 0.5}]
    assert renamed == {"label": "predicted_predicted_label"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "text\n", r"unknown extension '.txt'; "),
        ("a.csv", "", "it is empty; the first line must name the columns"),
        ("a.csv", "a,b\n1,2\n3\n", "row 2 has 1 values, expected 2"),
        ("a.csv", "a,a\n1,2\n", "names a column twice: a, a"),
        ("a.csv", 'a\n"open\n', "cannot be read: unexpected end of data"),
        ("a.jsonl", '{"a": 1}\n[1]\n', "line 2: expected a JSON object"),
        ("a.jsonl", "{a: 1}\n", "line 1 is not valid JSON"),
        ("a.parquet", "no parquet", "cannot be read"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        tables.read(tmp_path / name)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        tables.read(tmp_path / "a.csv")


def test_jsonl_is_not_escaped(tmp_path):
    tables.write(pa.table({"text": ["naïve 🙂"]}), tmp_path / "a.jsonl")
    line = (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    assert "naïve 🙂" in line
    assert json.loads(line) == {"text": "naïve 🙂"}


def test_a_file_that_is_not_utf8_says_so(tmp_path):
    (tmp_path / "latin.csv").write_bytes("text\ndélivré\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"is not UTF-8 .byte 0xe9.; convert the file"):
        tables.read(tmp_path / "latin.csv")
