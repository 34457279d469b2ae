"""Tasks that a suite declares: where files are searched, and messages with file and line."""

import pytest

from harness.resolution import load
from tests.support.suite_files import GOOD

CSV = "review,stars\nfine,5\ndull,1\n"
DECLARED = """\
  - reviews:
      kind: classification
      train: data/reviews.csv
      validation: data/reviews.csv
      text: review
      label: stars
"""


def suite_with(entry: str) -> str:
    return GOOD.replace("tasks: [sst2, rte]\n", f"tasks:\n  - sst2\n{entry}")


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "reviews.csv").write_text(CSV)


def test_files_are_relative_to_the_suite(write, data, tmp_path, monkeypatch):
    suite = write(suite_with(DECLARED))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    sst2, reviews = load(suite).suite.tasks
    assert (sst2.name, reviews.name, reviews.labels) == ("sst2", "reviews", ("1", "5"))
    assert reviews.load(None).train.num_rows == 2


def test_files_of_an_included_suite_are_relative_to_it(write, data, tmp_path):
    write(suite_with(DECLARED))
    top = write("include: ../suite.yaml\nname: other\n", "below/other.yaml")
    assert load(top).suite.tasks[1].load(None).train.num_rows == 2


def test_other_sections_may_name_a_declared_task(suite_problems, data):
    text = suite_with(DECLARED).replace("heads: 4, ffn: 128}", "heads: 4, ffn: 128}, floor: {reviews: 0.9}", 1)
    assert suite_problems(f"{text}training: {{per_task: {{reviews: {{epochs: 1}}}}}}\n") == []


def test_values_of_labels_may_be_numbers_and_booleans(write, data):
    suite = write(suite_with(DECLARED + "      labels: {1: negative, 5.0: positive}\n"))
    assert load(suite).suite.tasks[1].labels == ("negative", "positive")


def test_a_declared_task_of_the_hub_is_a_source(write):
    entry = "  - imdb: {kind: classification, data: stanfordnlp/imdb, validation: test, labels: [neg, pos]}\n"
    loaded = load(write(suite_with(entry))).suite
    assert loaded.sources[loaded.tasks[1].source] == "stanfordnlp/imdb"


def test_an_unknown_task_says_how_to_declare_one(suite_problems):
    (problem,) = suite_problems(GOOD.replace("rte", "reviews"))
    for words in ("suite.yaml:2", "unknown task 'reviews'", "- reviews: {kind: classification, train:", "your-data.md"):
        assert words in problem


PROBLEMS = {
    "unknown key": ("lable: stars", "suite.yaml:10: tasks.reviews.lable: unknown key; did you mean 'label'?"),
    "wrong kind": (
        "unanswerable: true",
        "suite.yaml:4: tasks.reviews: `unanswerable` is for qa, found kind classification",
    ),
    "unknown class": (
        "class_weights: {3: 2}",
        "suite.yaml:10: tasks.reviews.class_weights: no class '3'; allowed: 1, 5",
    ),
    "examples to predict": ("test: data/reviews.csv", "suite.yaml:10: tasks.reviews.test: unknown key"),
    "unknown metric": ("metrics: [f2]", "suite.yaml:10: tasks.reviews.metrics: no metric 'f2'"),
    "duplicate label": ("labels: [1, 1, 5]", "suite.yaml:10: tasks.reviews.labels: duplicate value '1'"),
    "config without data": ("config: x", "`config` belongs to `data`"),
    "type": ("labels: 5", "suite.yaml:10: tasks.reviews.labels: expected"),
    "two roles": ("text_pair: review", "`text` and `text_pair` name the same column, 'review'"),
    "group of labels": ("group: stars", "`label` and `group` name the same column, 'stars'"),
    "id of labels": ("id: stars", "`label` and `id` name the same column, 'stars'"),
    "share": ("group: 3", "suite.yaml:10: tasks.reviews.group: expected a string, found 3"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_problems_are_named_by_line_and_key(suite_problems, data, case):
    line, message = PROBLEMS[case]
    found = suite_problems(suite_with(f"{DECLARED}      {line}\n"))
    assert any(message in problem for problem in found), found
    assert len(found) == 1


def test_a_missing_file_is_named_by_line_and_key(suite_problems, data):
    (problem,) = suite_problems(suite_with(DECLARED.replace("train: data/reviews.csv", "train: data/review.csv")))
    assert "suite.yaml:6: tasks.reviews.train: file not found" in problem
    assert "did you mean 'reviews.csv'?" in problem


FORMS = {
    "not indented": (
        "  - reviews:\n    kind: classification\n",
        "expected one task per entry, found 'reviews', 'kind'; start a new entry with `-`, or indent the declaration",
    ),
    "empty": (
        "  - reviews:\n",
        "tasks.reviews: expected a declaration, found null; to train on your own data, declare",
    ),
    "a number": ("  - 5\n", "tasks.1: expected a string, found 5"),
    "registered": (DECLARED.replace("reviews:", "rte:", 1), "tasks.rte: duplicate name: 'rte' is a registered task"),
    "twice": (f"{DECLARED}{DECLARED}", "duplicate value"),
    "blank": (DECLARED.replace("reviews:", "' ':", 1), "a name of letters, digits and any of ._+-"),
    "no name": (DECLARED.replace("reviews:", "a/b:", 1), "a name of letters, digits and any of ._+-"),
    "reserved": (DECLARED.replace("reviews:", "average:", 1), "the name is reserved"),
    "no validation": (
        "  - r: {kind: regression, train: data/reviews.csv}\n",
        "`validation` missing: give a file, or a share",
    ),
    "text as label": (
        "  - r: {kind: regression, train: data/reviews.csv, validation: 0.5, text: review, label: review}\n",
        "`text` and `label` name the same column, 'review'",
    ),
    "text among labels": (
        "  - r: {kind: multilabel, train: data/reviews.csv, validation: 0.5, text: a, label: [a, b]}\n",
        "`text` and `label` name the same column, 'a'",
    ),
    "context as question": (
        "  - r: {kind: qa, train: data/reviews.csv, validation: 0.5, question: context}\n",
        "`question` and `context` name the same column, 'context'",
    ),
    "words as tags": (
        "  - r: {kind: token_classification, train: data/reviews.csv, validation: 0.5, tokens: 0, tags: 0}\n",
        "`tokens` and `tags` name the same column, '0'",
    ),
    "share of all": ("  - r: {kind: regression, train: data/reviews.csv, validation: 1.5}\n", "tasks.r.validation"),
    "hub without labels": ("  - r: {kind: classification, data: org/name}\n", "tasks.r.labels: give the labels"),
}


@pytest.mark.parametrize("case", FORMS)
def test_entries_of_a_wrong_form(suite_problems, data, case):
    entry, message = FORMS[case]
    found = suite_problems(suite_with(entry))
    assert any(message in problem for problem in found), found


def test_an_unreadable_training_file_is_a_problem_of_its_task(suite_problems, data, tmp_path):
    (tmp_path / "data" / "reviews.csv").write_bytes("review,stars\ncafé,1\n".encode("latin-1"))
    (problem,) = suite_problems(suite_with(DECLARED))
    assert problem.startswith("suite.yaml:4: tasks.reviews: task 'reviews': data/reviews.csv, line 2: byte 0xe9")
