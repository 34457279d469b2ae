"""Examples of multilabel tasks and of token classification."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from harness.plugin_host.contribution_checks import task_faults

MULTILABEL = {"kind": "multilabel", "train": "rows", "validation": "rows"}
CONLL = "-DOCSTART- -X- O\n\nAda NNP B-PER\nLovelace NNP I-PER\nlives VBZ O\nin IN O\nLondon NNP B-LOC\n\n\nIt PRP O\n"
NER = {"kind": "token_classification", "train": "rows.conll", "validation": "rows.conll"}


def labels_of(files, **declaration):
    task = files.task(**MULTILABEL, **declaration)
    return task.labels, task.load(None).train["label"][:]


def test_a_separator_splits_the_labels_of_a_cell(files):
    files.write("rows/1.csv", "text,label\nx,b; a;b\ny,\nz,c\n")
    assert labels_of(files, separator=";") == (("a", "b", "c"), [[0, 1], [], [2]])


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_lists_of_labels(files, form):
    rows = pd.DataFrame({"text": ["x", "y", "z"], "label": [["b", "a"], [], ["c"]]})
    (files.folder / "rows").mkdir()
    if form == "json":
        rows.to_json(files.folder / "rows" / "1.json", orient="records")
    else:
        rows.to_parquet(files.folder / "rows" / "1.parquet")
    assert labels_of(files, labels=["c", "b", "a"]) == (("c", "b", "a"), [[1, 2], [], [0]])


def test_one_column_for_each_class(files):
    files.write("rows/1.csv", "text,sport,politics\nx,1,true\ny,0,False\nz,1,0\n")
    assert labels_of(files, label=["sport", "politics"]) == (("sport", "politics"), [[0, 1], [], [0]])


@pytest.mark.parametrize(
    ("content", "declaration", "message"),
    [
        ("text,label\nx,a;d\n", {"separator": ";", "labels": ["a", "b"]}, "found 'd', expected one of a, b"),
        (
            "text,label\nx,a;b\n",
            {"labels": ["a", "b"]},
            "found 'a;b', expected a list of labels, or a text that `separator`",
        ),
        ("text,label\nx,a;b\ny,b\n", {}, "line 2, column 'label': found 'a;b', expected a list of labels, or a text"),
        ("text,a,b\nx,1,2\n", {"label": ["a", "b"]}, "column 'b': found '2', expected 0, 1, true or false"),
        ("text,a\nx,1\n", {"label": ["a", "b"]}, "no column 'b' (`label`)"),
    ],
)
def test_invalid_labels_of_multilabel_tasks(files, content, declaration, message):
    files.write("rows/1.csv", content)
    assert message in files.problems(**MULTILABEL, **declaration)[0]


def test_conll_files(files):
    files.write("rows.conll", CONLL)
    task = files.task(**NER)
    assert task.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert task.load(None).train[:] == {
        "id": ["0", "1"],
        "tokens": [["Ada", "Lovelace", "lives", "in", "London"], ["It"]],
        "tags": [[3, 4, 0, 0, 1], [0]],
    }


def test_another_column_has_the_tags(files):
    files.write("rows.txt", "Ada\tB-PER\tNNP\r\nlives\tO\tVBZ\r\n\r\nIt\tO\tPRP\r\n")
    splits = files.load(kind="token_classification", train="rows.txt", validation="rows.txt", tags="1")
    assert splits.train["tags"][:] == [[1, 0], [0]]
    assert (
        "line 1: found 3 columns, expected one with number 5"
        in files.problems(**NER | {"train": "rows.txt", "format": "conll"}, tags="5")[0]
    )


CONLL_U = "# newdoc\n# sent_id = 1\n# text = They like vitamin O\n1\tThey\tO\n2\tlike\tO\n3\tvitamin\tO\n4\tO\tB-X\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Ada B-X\n\n# O\nparty O\nin O\n", [["Ada"], ["#", "party", "in"]]),
        ("# O\n\nAda B-X\n", [["#"], ["Ada"]]),
        ("# B-X\n# O\n", [["#", "#"]]),
        ("#\tO\nparty\tB-X\n", [["#", "party"]]),
        ("# hello\tB-X\nparty\tO\n", [["# hello", "party"]]),
        ("# a comment\n#\n# 2 O\nAda B-X\n# O\n", [["Ada", "#"]]),
        ("# text = a\tb\nAda\tB-X\n", [["Ada"]]),
        ("# O\nAda\tB-X\n", [["Ada"]]),
        ("-DOCSTART-\n\n# O\nAda B-X\n-DOCSTART- -X- O\nIt O\n", [["#", "Ada"], ["It"]]),
    ],
)
def test_a_number_sign_is_a_word_where_the_line_can_be_a_row(files, content, words):
    files.write("rows.conll", content)
    assert files.load(**NER, labels=["X"]).train["tokens"][:] == words


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_conll_files_have_any_line_ends(files, end):
    files.write("rows.conll", CONLL.replace("\n", end))
    train = files.load(**NER).train
    assert train["tokens"][:] == [["Ada", "Lovelace", "lives", "in", "London"], ["It"]]
    files.write("rows.conll", f"Ada O{end}{end}It O{end}London{end}")
    assert "rows.conll, line 4: found one column" in files.problems(**NER)[0]


def test_comments_of_conll_u_are_no_rows(files):
    files.write("rows.conll", CONLL_U)
    assert files.load(**NER, tokens="1", labels=["X"]).train["tokens"][:] == [["They", "like", "vitamin", "O"]]


def test_only_tabs_and_blanks_separate_the_cells_of_a_line(files):
    files.write("rows.conll", "A\u00a0da\u2009L \tB-PER \r\nx\tO\r\n\u00a0\r\nIt\tO\r\n")
    assert files.load(**NER).train["tokens"][:] == [["A\u00a0da\u2009L", "x"], ["It"]]
    files.write("rows.conll", "Ada B-PER\n\u00a0 O\n")
    assert "rows.conll, line 1, column 'tokens': found" in files.problems(**NER)[0]


@pytest.mark.parametrize("line", ["O", "\tO", " O \t"])
def test_a_line_has_a_word_and_a_tag(files, line):
    files.write("rows.conll", f"Ada B-PER\n{line}\n")
    message = "rows.conll, line 2: found one column, 'O', expected a word and its tag"
    assert message in files.problems(**NER)[0]


@pytest.mark.parametrize("key", ["tokens", "tags"])
@pytest.mark.parametrize("number", [1, "1"])
def test_columns_may_be_numbers(files, key, number):
    files.write("rows.conll", "Ada\tB-PER\tB-PER\n" if key == "tags" else "1\tAda\tB-PER\n")
    train = files.load(**NER, **{key: number}).train
    assert (train["tokens"][:], train["tags"][:]) == ([["Ada"]], [[1]])


@pytest.mark.parametrize("number", [-1, True, 1.0])
def test_other_values_are_no_columns(files, number):
    with pytest.raises(ValueError, match="tags\n  Input should be a valid string"):
        files.task(**NER, tags=number)


@pytest.mark.parametrize("labels", [["PER", "LOC"], ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]])
def test_labels_are_types_of_entities_or_tags(files, labels):
    files.write("rows.conll", CONLL)
    assert files.task(**NER, labels=labels).labels == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def test_lists_of_words_and_tags(files):
    rows = [{"tokens": ["Ada", "lives"], "tags": ["B-PER", "O"]}, {"tokens": "It rained", "tags": "O O"}]
    files.write("rows.json", json.dumps(rows))
    train = files.load(**NER | {"train": "rows.json", "validation": "rows.json"}).train
    assert (train["tokens"][1], train["tags"][:]) == (["It", "rained"], [[1, 0], [0, 0]])


@pytest.mark.parametrize(
    ("tags", "labels", "names"),
    [
        ([["NOUN", "VERB"], "NOUN NOUN"], ["VERB", "NOUN"], ("VERB", "NOUN")),
        ([["NOUN", "VERB"], "NOUN NOUN"], None, ("NOUN", "VERB")),
        ([["O", "NOUN"], ["NOUN", "O"]], ["O", "NOUN"], ("O", "NOUN")),
        ([["B-X", "NOUN"], ["I-X", "I-X"]], None, ("B-X", "I-X", "NOUN")),
        ([[3, 7], [7, 3]], [7, 3], ("7", "3")),
        ([[3, 7], [7, 3]], None, ("3", "7")),
    ],
)
def test_tags_that_mark_no_entities_are_read_as_they_are(files, tags, labels, names):
    files.write("rows.jsonl", "".join(json.dumps({"tokens": ["Ada", "sang"], "tags": row}) + "\n" for row in tags))
    declared = NER | {"train": "rows.jsonl", "validation": "rows.jsonl", "labels": labels}
    task = files.task(**declared, metrics=["token_accuracy"])
    assert task.labels == names
    read = [[task.labels[tag] for tag in row] for row in task.load(None).train["tags"][:]]
    assert read == [[str(tag) for tag in (row.split() if isinstance(row, str) else row)] for row in tags]
    assert not list(task_faults(task))
    assert list(task_faults(replace(task, metrics=("token_accuracy", "entity_f1"))))
    with_entities = {**declared, "metrics": ["token_accuracy", "entity_f1"], "labels": None}
    assert "other tags need `metrics: [token_accuracy]`" in files.problems(**with_entities)[0]


@pytest.mark.parametrize("labels", [["O", "B-PER", "I-PER"], ["NOUN", "VERB", "DET"]])
def test_numbers_of_tags_are_those_of_the_declared_tags(files, labels):
    files.write("rows.json", json.dumps([{"tokens": ["Ada", "sang", "x"], "tags": [1, 2, 0]}]))
    declared = NER | {"train": "rows.json", "validation": "rows.json", "labels": labels}
    assert files.load(**declared, metrics=["token_accuracy"]).train["tags"][:] == [[1, 2, 0]]
    assert "found '1'" in files.problems(**declared | {"labels": ["PER"]})[0]


SCHEMES = {
    "iob1": ["I-PER", "I-PER", "O", "I-LOC", "B-LOC", "I-ORG"],
    "iob2": ["B-PER", "I-PER", "O", "B-LOC", "B-LOC", "B-ORG"],
    "iobes": ["B-PER", "E-PER", "O", "S-LOC", "S-LOC", "S-ORG"],
    "bilou": ["B-PER", "L-PER", "O", "U-LOC", "U-LOC", "U-ORG"],
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_of_tags_are_converted_to_iob2(files, caplog, scheme):
    files.write("rows.json", json.dumps([{"tokens": list("abcdef"), "tags": SCHEMES[scheme]}]))
    task = files.task(**NER | {"train": "rows.json", "validation": "rows.json"})
    (tags,) = task.load(None).train["tags"][:]
    assert [task.labels[tag] for tag in tags] == SCHEMES["iob2"]
    assert ("tags to IOB2" in caplog.text) == (scheme != "iob2")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (["B-PER"], "found 1 tags for 2 words, expected one tag for each word"),
        (["PER", "O"], "found 'PER', expected O, or a tag such as B-PER or I-PER"),
        (["B-DOG", "O"], "found 'B-DOG', expected one of O, B-PER, I-PER"),
        (5, "found 5, expected a list of tags"),
    ],
)
def test_invalid_tags(files, tags, message):
    files.write("rows.json", json.dumps([{"tokens": ["Ada", "lives"], "tags": tags}]))
    declared = NER | {"train": "rows.json", "validation": "rows.json"}
    assert message in files.problems(**declared, labels=["PER"])[0]


@pytest.mark.parametrize("kind", ["multilabel", "token_classification"])
def test_shares_are_stratified_by_the_rarest_class(files, kind):
    rare = [i % 10 == 0 for i in range(100)]
    rows = [
        {
            "text": f"t{i}",
            "label": ["a", "b"] if is_rare else ["a"],
            "tokens": [f"t{i}"],
            "tags": ["B-X" if is_rare else "O"],
        }
        for i, is_rare in enumerate(rare)
    ]
    files.write("rows.json", json.dumps(rows))
    validation = files.load(kind=kind, train="rows.json", validation=0.2).validation["validation"]
    column = validation["label" if kind == "multilabel" else "tags"][:]
    assert (len(validation), sum(1 in row for row in column)) == (20, 2)
