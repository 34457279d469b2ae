"""Tables keep rows, columns and values in every format."""

import gzip
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from harness.api.errors import UserError
from harness.prediction import tables
from harness.tasks.tabular.table_files import FileOptions
from tests.support.odd_columns import ODD, odd_table


def typed(columns):
    return tables.Table(list(columns), pa.table(columns))


ROWS = [
    {"id": "01", "text": 'He said "no",\nthen left.', "note": ""},
    {"id": "2", "text": "tab\there, 🙂 naïve", "note": "NA"},
    {"id": "3", "text": "", "note": "null"},
]


@pytest.mark.parametrize("first", tables.FORMATS)
@pytest.mark.parametrize("second", tables.FORMATS)
def test_values_survive_all_formats(tmp_path, first, second):
    tables.write(tables.Table(list(ROWS[0]), ROWS), tmp_path / f"a{first}")
    tables.write(tables.read(tmp_path / f"a{first}"), tmp_path / f"b{second}")
    assert tables.read(tmp_path / f"b{second}").rows() == ROWS


def test_parquet_keeps_types_and_csv_keeps_strings(tmp_path):
    table = typed({"n": pa.array([1, 2], pa.int8()), "tags": [["a", "b"], []]})
    tables.write(table, tmp_path / "a.parquet")
    assert parquet.read_table(tmp_path / "a.parquet").schema.field("n").type == pa.int8()
    tables.write(table, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == 'n,tags\n1,"[""a"", ""b""]"\n2,[]\n'


def test_jsonl_rows_may_lack_keys(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{"text": "b", "more": {"x": [1]}}\n')
    table = tables.read(tmp_path / "a.jsonl")
    assert (table.column("text"), table.column("more")) == (["a", "b"], [None, {"x": [1]}])
    tables.write(table, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == 'text,more\na,\nb,"{""x"": [1]}"\n'


OBJECTS = [
    {"text": "a", "meta": {"a": 1}, "n": 1, "mixed": "x"},
    {"text": "b", "meta": {"b": [2, "c"]}, "n": 2.5, "mixed": {}},
    {"text": "c", "n": 123456789012345678901234, "mixed": None, "only here": [[], {}]},
]


def test_objects_keep_their_values_and_names(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in OBJECTS))
    table, renamed = tables.read(tmp_path / "a.jsonl").with_columns({"label": list("xyz"), "n": [7, 8, 9]})
    tables.write(table, tmp_path / "b.jsonl")
    lines = (tmp_path / "b.jsonl").read_text().splitlines()
    expected = [
        {**row, "label": label, "predicted_n": n} for row, label, n in zip(OBJECTS, "xyz", (7, 8, 9), strict=True)
    ]
    assert lines == [json.dumps(row) for row in expected]
    assert renamed == {"n": "predicted_n"}


@pytest.mark.parametrize("values", [[1, "x"], [{"a": 1}, [1]], [2**64, 1], [2**200, 1], [{}, {}], [[{}], []]])
def test_values_without_a_type_of_parquet_are_no_parquet_column(tmp_path, values):
    table = tables.Table(["text", "odd"], [{"text": "a", "odd": value} for value in values])
    with pytest.raises(UserError, match=r"column 'odd': parquet cannot hold its values .* \.jsonl file"):
        tables.write(table, tmp_path / "a.parquet")
    assert table.storable(tmp_path / "a.jsonl").rows() is table.rows()


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_line_breaks_of_every_kind_stay_in_their_cell(tmp_path, name):
    rows = [{"text": text, "n": "1"} for text in ("a\rb", "c\r\nd", "\r", "e\nf", "\u2028", "g\x0bh", "plain")]
    tables.write(tables.Table(["text", "n"], rows), tmp_path / name)
    assert tables.read(tmp_path / name).rows() == rows
    assert (tmp_path / name).read_bytes().endswith(b"plain" + (b"," if name == "a.csv" else b"\t") + b"1\n")


def test_a_byte_order_mark_is_not_part_of_a_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftext\r\nhello\r\n")
    assert tables.read(tmp_path / "a.csv").rows() == [{"text": "hello"}]


def test_a_new_column_never_replaces_one(tmp_path):
    table, renamed = typed({"label": [1], "predicted_label": [2]}).with_columns({"label": ["x"], "score": [0.5]})
    assert table.rows() == [{"label": 1, "predicted_label": 2, "predicted_predicted_label": "x", "score": 0.5}]
    assert renamed == {"label": "predicted_predicted_label"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "text\n", r"unknown suffix '.txt'; "),
        ("a.csv", "a,b\n1,2\n3\n", "line 3: found 1 cells, expected 2"),
        ("a.csv", "review;stars\nLong, dull;1\n", "set `delimiter` to ';'"),
        ("a.csv", "review\tstars\nLong, dull\t1\n", r"set `delimiter` to '\\t'"),
        ("a.jsonl", '{"a": 1}\n{"a": ["\\ud83d"]}\n', r"a.jsonl, line 2: has half of a surrogate pair, '\\ud83d'"),
        ("a.json", '[{"a": 1}, {"\\ud83d": 2}]', r"a.json, row 1: has half of a surrogate pair, '\\ud83d'"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        tables.read(tmp_path / name)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"file not found: .*a\.csv"):
        tables.read(tmp_path / "a.csv")


def test_jsonl_is_not_escaped(tmp_path):
    tables.write(typed({"text": ["naïve 🙂"]}), tmp_path / "a.jsonl")
    line = (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    assert "naïve 🙂" in line
    assert json.loads(line) == {"text": "naïve 🙂"}


def test_a_file_that_is_not_utf8_says_so(tmp_path):
    (tmp_path / "latin.csv").write_bytes("text\ndélivré\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"byte 0xe9 .* is not valid utf-8; set `encoding`"):
        tables.read(tmp_path / "latin.csv")


def test_encodings_delimiters_and_formats_are_those_of_data_files(tmp_path):
    rows = [{"text": "délivré; à temps", "n": "1"}]
    (tmp_path / "a.csv").write_bytes('text;n\n"délivré; à temps";1\n'.encode("latin-1"))
    assert tables.read(tmp_path / "a.csv", FileOptions(encoding="latin-1", delimiter=";")).rows() == rows
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert tables.read(tmp_path / "a.json").rows() == rows
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(rows[0]).encode()))
    assert tables.read(tmp_path / "a.jsonl.gz").rows() == rows


@pytest.mark.parametrize("extension", tables.FORMATS)
def test_a_table_may_have_no_rows(tmp_path, extension):
    (tmp_path / "a.csv").write_text("text,n\n")
    tables.write(tables.read(tmp_path / "a.csv").storable(tmp_path / f"b{extension}"), tmp_path / f"b{extension}")
    assert tables.read(tmp_path / f"b{extension}").rows() == []


@pytest.mark.parametrize("name", ODD)
def test_values_that_python_lacks_are_copied_to_parquet_and_no_other_format(tmp_path, name):
    parquet.write_table(odd_table(name, text=list("abcd")), tmp_path / "a.parquet")
    table = tables.read(tmp_path / "a.parquet")
    assert table.column("text") == list("abcd")
    written, _ = table.storable(tmp_path / "b.parquet").with_columns({"label": list("efgh")})
    tables.write(written, tmp_path / "b.parquet")
    assert parquet.read_table(tmp_path / "b.parquet")["odd"].type == ODD[name].type
    for extension in (".csv", ".tsv", ".jsonl"):
        with pytest.raises(
            UserError, match=r"column 'odd' \(\w.*\): its values cannot be read .* write to a \.parquet file"
        ):
            table.storable(tmp_path / f"b{extension}")
