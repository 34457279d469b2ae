"""The files of a submission have the format that the GLUE server describes."""

import csv
import io
import re
import zipfile

import pytest

from harness.prediction import glue_submission
from harness.prediction.glue_submission import TEST_SETS
from harness.tasks.glue import TASKS

TASK = {task.name: task for task in TASKS}
BY_FILE = {test.file: test for test in TEST_SETS}

OFFICIAL = {
    "CoLA.tsv": (1063, {"0", "1"}),
    "SST-2.tsv": (1821, {"0", "1"}),
    "MRPC.tsv": (1725, {"0", "1"}),
    "STS-B.tsv": (1379, None),
    "MNLI-m.tsv": (9796, {"entailment", "neutral", "contradiction"}),
    "MNLI-mm.tsv": (9847, {"entailment", "neutral", "contradiction"}),
    "QNLI.tsv": (5463, {"entailment", "not_entailment"}),
    "QQP.tsv": (390965, {"0", "1"}),
    "RTE.tsv": (3000, {"entailment", "not_entailment"}),
    "WNLI.tsv": (146, {"0", "1"}),
    "AX.tsv": (1104, {"entailment", "neutral", "contradiction"}),
}
"""Rows and words of each file, as GLUE publishes them; STS-B has numbers from 0 to 5."""


def check_official(name, content, rows=None):
    """Check a file against the description of the format."""
    count, words = OFFICIAL[name]
    header, *table = csv.reader(io.StringIO(content), delimiter="\t", quoting=csv.QUOTE_NONE)
    assert header == ["index", "prediction"]
    assert [index for index, _ in table] == [str(number) for number in range(count if rows is None else rows)]
    for _, prediction in table:
        assert prediction in words if words else re.fullmatch(r"[0-4]\.\d+|5\.0+", prediction)
    assert content.endswith("\n")
    assert "\r" not in content


def test_the_files_are_the_official_ones():
    assert {test.file: test.rows for test in TEST_SETS} == {name: rows for name, (rows, _) in OFFICIAL.items()}


@pytest.mark.parametrize("test", TEST_SETS, ids=lambda test: test.file)
def test_predictions_have_the_words_of_the_server(test):
    task = TASK[test.task]
    predictions = [*task.labels] * 2 if task.labels else [-0.3, 0.0, 2.34567, 5.0, 7.1]
    check_official(test.file, glue_submission.rows_of(test, task, predictions), rows=len(predictions))


def test_classes_have_the_numbers_of_the_data_set():
    one = {"cola": "acceptable", "sst2": "positive", "mrpc": "equivalent", "qqp": "duplicate", "wnli": "entailment"}
    for test in TEST_SETS:
        if test.task in one:
            assert glue_submission.rows_of(test, TASK[test.task], [one[test.task]]) == "index\tprediction\n0\t1\n"


def test_values_of_stsb_are_clipped():
    content = glue_submission.rows_of(BY_FILE["STS-B.tsv"], TASK["stsb"], [-1, 9.0, 2.5])
    assert content == "index\tprediction\n0\t0.000\n1\t5.000\n2\t2.500\n"


@pytest.mark.parametrize(("file", "prediction"), [("RTE.tsv", "LABEL_0"), ("STS-B.tsv", float("nan"))])
def test_other_predictions_are_refused(file, prediction):
    test = BY_FILE[file]
    with pytest.raises(ValueError, match=file):
        glue_submission.rows_of(test, TASK[test.task], [prediction])


@pytest.mark.parametrize("test", [one for one in TEST_SETS if one.rows < 10_000], ids=lambda test: test.file)
def test_placeholders_are_complete(test):
    check_official(test.file, glue_submission.placeholder(test, TASK[test.task]))


def test_a_test_set_with_other_rows_is_named():
    assert glue_submission.shortfall(BY_FILE["WNLI.tsv"], 146) is None
    assert (
        glue_submission.shortfall(BY_FILE["WNLI.tsv"], 5)
        == "WNLI.tsv: the test split has 5 rows, the server expects 146"
    )


def test_the_zip_has_the_files_without_folders_and_the_same_bytes():
    files = {"b.tsv": "two\n", "a.tsv": "one\n"}
    content = glue_submission.zipped(files)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == files
    assert glue_submission.zipped(files) == content
