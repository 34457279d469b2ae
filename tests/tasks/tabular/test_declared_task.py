"""Declared tasks: examples, classes, splits, and messages about invalid data."""

import json
import pickle

import pandas as pd
import pytest

from harness.api.errors import UserError

STARS = "review,stars\n" + "".join(f"text {i},{1 if i % 4 else 5}\n" for i in range(40))
REVIEWS = {"train": "reviews.csv", "validation": "reviews.csv", "text": "review", "label": "stars"}


def test_a_csv_file_becomes_a_classification(files):
    files.write("reviews.csv", STARS)
    task = files.task(**REVIEWS, labels={"1": "negative", "5": "positive"})
    assert (task.name, task.kind, task.labels) == ("reviews", "classification", ("negative", "positive"))
    assert (task.metrics, task.score) == (("accuracy", "f1_macro"), "accuracy")
    splits = task.load(None)
    assert splits.train[:2] == {"id": ["0", "1"], "text": ["text 0", "text 1"], "label": [1, 0]}
    assert splits.validation["validation"][39] == {"id": "39", "text": "text 39", "label": 0}


def test_edited_files_are_read_again(files):
    files.write("reviews.csv", STARS)
    task = files.task(**REVIEWS)
    before = task.load(None).train["text"][0]
    files.write("reviews.csv", STARS.replace("text 0", "another"))
    assert (before, task.load(None).train["text"][0]) == ("text 0", "another")


def test_a_task_can_be_sent_to_another_process(files):
    files.write("reviews.csv", STARS)
    task = pickle.loads(pickle.dumps(files.task(**REVIEWS)))
    assert task.load(None).train.num_rows == 40


def test_labels_are_the_sorted_values_of_the_training_file_and_the_summary_says_so(files):
    files.write("reviews.csv", STARS)
    task = files.task(**REVIEWS)
    assert task.labels == ("1", "5")
    assert task.summary == "classification, 2 classes: 1, 5 (the sorted values of the training examples)"


@pytest.mark.parametrize(
    ("written", "labels"),
    [(["true", "false"], [True, False]), (["True", "FALSE"], [True, False]), (["1.0", "2"], [1, 2])],
)
def test_values_of_yaml_and_of_files_agree(files, written, labels):
    files.write("rows.csv", "text,label\n" + "".join(f"x{i},{value}\n" for i, value in enumerate(written * 3)))
    assert files.load(train="rows.csv", validation="rows.csv", labels=labels).train["label"][:] == [0, 1] * 3


def test_pairs_and_ids(files):
    rows = [{"key": i, "a": f"a{i}", "b": f"b{i}", "same": i % 2 == 0} for i in range(4)]
    files.write("pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    pairs = {"train": "pairs.jsonl", "validation": "pairs.jsonl"}
    task = files.task(**pairs, id="key", text="a", text_pair="b", label="same")
    assert (task.paired, task.labels) == (True, ("false", "true"))
    assert task.load(None).train[1] == {"id": "1", "text": "a1", "text_pair": "b1", "label": 0}


def test_regression(files):
    files.write("scores.csv", "text,label\na,1\nb,2.5\nc,-3e-1\n")
    declared = {"kind": "regression", "train": "scores.csv", "validation": "scores.csv"}
    task = files.task(**declared)
    assert (task.score, task.num_labels, task.higher_is_better) == ("pearson", 1, True)
    assert task.load(None).train["label"][:] == pytest.approx([1, 2.5, -0.3])
    error = files.task(**declared, metrics=["mae", "pearson"])
    assert (error.metrics, error.higher_is_better, error.in_percent) == (("errors", "pearson_spearman"), False, True)
    standardized = files.task(**declared, standardize=True)
    assert standardized.standardize
    assert standardized.key_parts == task.key_parts | {"standardize": True}
    (problem,) = files.problems(**declared, label_range=[0, 2])
    assert "scores.csv, line 3, column 'label': found '2.5', expected a number from 0 to 2 (2 of 3 rows" in problem


def test_questions_with_and_without_starts(files):
    rows = [
        {"question": "who", "context": "the cat sat", "answers": "cat"},
        {"question": "what", "context": "sat sat", "answers": {"text": ["sat"], "answer_start": [4]}},
        {"question": "where", "context": "the cat sat", "answers": None},
    ]
    files.write("qa.json", json.dumps(rows))
    task = files.task(kind="qa", train="qa.json", validation="qa.json", unanswerable=True)
    assert (task.metrics, task.score, task.in_percent) == (("squad_v2",), "f1", True)
    assert task.load(None).train["answers"][:] == [
        [{"text": "cat", "start": 4}],
        [{"text": "sat", "start": 4}],
        [],
    ]
    assert "column 'answers': found no answer" in files.problems(kind="qa", train="qa.json", validation="qa.json")[0]


def test_only_answers_with_a_start_can_be_corrected(files):
    answers = ["cat", ["cat"], [{"text": "cat"}], {"text": ["cat"], "answer_start": [4]}]
    wrong = {"text": ["cat"], "answer_start": [0]}
    rows = [
        {"question": "who", "context": "the cat sat", "answers": each} for each in (*answers, wrong, json.dumps(wrong))
    ]
    files.write("qa.json", json.dumps(rows))
    splits = files.load(kind="qa", train="qa.json", validation="qa.json")
    assert splits.repaired == {"train": 2, "validation": 2}


def test_answers_in_csv_cells(files):
    rows = pd.DataFrame({"question": ["a", "b"], "context": ["the cat", "sat sat"]})
    rows["answers"] = ["cat", json.dumps([{"text": "sat", "answer_start": 4}])]
    rows.to_csv(files.folder / "qa.csv", index=False)
    starts = files.load(kind="qa", train="qa.csv", validation="qa.csv").train["answers"][:]
    assert starts == [[{"text": "cat", "start": 4}], [{"text": "sat", "start": 4}]]


INVALID = {
    "missing column": ("text,stars\nx,1\n", ["no column 'review' (`text`)", "found text, stars"]),
    "similar column": ("reviews,stars\nx,1\n", ["did you mean 'reviews'?"]),
    "two missing columns": ("a,b\nx,1\n", ["no column 'review'", "no column 'stars'"]),
    "other delimiter": ("review;stars\nx;1\n", ["`delimiter` to ';'"]),
    "empty text": ("review,stars\nx,1\n,5\n  ,1\n", ["line 3, column 'review': found an empty text", "also lines 4"]),
    "no label": ("review,stars\nx,1\ny,\n", ["line 3, column 'stars': found no label, expected one of 1, 5"]),
    "other label": ("review,stars\nx,1\ny,3\nz,3\n", ["line 3", "found '3', expected one of 1, 5", "also lines 4"]),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_rows_are_named_by_file_line_and_column(files, case):
    content, words = INVALID[case]
    files.write("reviews.csv", content)
    found = "\n".join(files.problems(**REVIEWS, labels=[1, 5]))
    assert "task 'reviews': reviews.csv" in found
    assert [word for word in words if word not in found] == []


def test_problems_of_all_files_and_columns_are_reported_at_once(files):
    files.write("a/1.csv", "review,stars\n,1\nx,7\n")
    files.write("a/2.csv", "review,stars\nx,8\n")
    files.write("a/3.csv", "text,stars\nx,1\n")
    files.write("b.csv", "review,stars\nx,9\n")
    found = files.problems(**REVIEWS | {"train": "a", "validation": "b.csv"}, labels=[1, 5])
    starts = ["a/1.csv, line 2", "a/1.csv, line 3", "a/2.csv, line 2", "a/3.csv: no column 'review'", "b.csv, line 2"]
    assert [
        problem.removeprefix("task 'reviews': ").startswith(start) for problem, start in zip(found, starts, strict=True)
    ] == [True] * 5


def test_duplicate_ids_in_two_files_of_a_split(files):
    files.write("a/1.csv", "id,text,label\n1,x,a\n2,y,b\n")
    files.write("a/2.csv", "id,text,label\n3,x,a\n1,y,b\n")
    (problem,) = files.problems(train="a", validation="a/1.csv", id="id")
    assert "a/2.csv, line 3, column 'id': found the duplicate id '1', expected unique ids" in problem


def test_json_texts_that_are_no_text(files):
    files.write("rows.json", json.dumps([{"text": 5, "label": "a"}, {"text": None, "label": "b"}]))
    (problem,) = files.problems(train="rows.json", validation="rows.json")
    assert "rows.json, row 0, column 'text': found 5, expected text (2 of 2 rows, also rows 1)" in problem


def test_a_validation_label_without_training_example(files):
    files.write("train.csv", "text,label\nx,a\ny,b\n")
    files.write("validation.csv", "text,label\nx,a\ny,c\n")
    files_of = {"train": "train.csv", "validation": "validation.csv"}
    assert "validation.csv, line 3, column 'label': found 'c', expected one of a, b" in files.problems(**files_of)[0]
    (problem,) = files.problems(**files_of, labels=["a", "b", "c"])
    assert "the validation examples have 'c', of which there is no training example" in problem


def test_a_label_that_no_example_has_is_a_warning(files, caplog):
    files.write("reviews.csv", STARS)
    files.load(**REVIEWS, labels=[1, 5, 7])
    assert "no example has label '7'" in caplog.text


def test_metrics_and_score(files):
    files.write("reviews.csv", STARS)
    task = files.task(**REVIEWS, metrics=["f1_macro", "accuracy"])
    assert (task.metrics, task.score) == (("f1_macro", "accuracy"), "f1_macro")
    assert files.task(**REVIEWS, metrics=["accuracy"], score="f1").score == "f1"
    with pytest.raises(
        UserError, match="no metric 'f1_makro' for a task of kind classification; did you mean 'f1_macro'"
    ):
        files.task(**REVIEWS, metrics=["f1_makro"])
    with pytest.raises(UserError, match="found 3 classes; use f1_macro"):
        files.task(**REVIEWS, labels=[1, 2, 5], metrics=["f1"])


@pytest.mark.parametrize(
    ("settings", "in_percent"),
    [
        ({"higher_is_better": True}, False),
        ({"higher_is_better": True, "percent": True}, True),
        ({"higher_is_better": False}, True),
        ({"higher_is_better": False, "percent": False}, False),
    ],
)
def test_a_score_of_a_plugin_has_the_direction_that_the_task_declares(files, settings, in_percent):
    files.write("reviews.csv", STARS)
    task = files.task(**REVIEWS, metrics=["loss", "accuracy"], **settings)
    assert (task.score, task.higher_is_better, task.in_percent) == ("loss", settings["higher_is_better"], in_percent)
    with pytest.raises(UserError, match="the score 'loss' is a metric of a plugin: say whether a higher one is better"):
        files.task(**REVIEWS, metrics=["loss", "accuracy"])
    assert files.task(**REVIEWS, metrics=["accuracy", "loss"]).higher_is_better
    for key, value in settings.items():
        with pytest.raises(UserError, match="only for scores of plugins; that of 'accuracy' is known") as refusal:
            files.task(**REVIEWS, metrics=["accuracy", "loss"], **{key: value})
        assert refusal.value.problems[0].where == key


def test_key_parts_hold_what_a_user_may_edit(files):
    files.write("reviews.csv", STARS)
    plain = files.task(**REVIEWS).key_parts
    assert plain == {
        "kind": "classification",
        "labels": ["1", "5"],
        "metrics": ["accuracy", "f1_macro"],
        "score": "accuracy",
    }
    assert files.task(**REVIEWS, labels={"1": "bad", "5": "good"}).key_parts != plain
    assert files.task(**REVIEWS, class_weights="balanced").key_parts == plain | {"class_weights": "balanced"}
    assert files.task(**REVIEWS, seed=7).key_parts == plain


@pytest.mark.parametrize(
    ("name", "options", "refused"),
    [
        ("rows.parquet", {"delimiter": ";", "encoding": "latin-1"}, ["delimiter", "encoding"]),
        ("rows.jsonl", {"quoting": False, "encoding": "latin-1"}, ["quoting"]),
        ("rows.csv", {"delimiter": ";", "quoting": False, "encoding": "latin-1"}, []),
        ("rows.json", {"format": "csv", "delimiter": ";"}, []),
    ],
)
def test_an_option_that_cannot_apply_to_any_file_is_an_error(files, name, options, refused):
    files.write(name, b"")
    declaration = {"train": name, "validation": 0.5, "labels": [0, 1], **options}
    try:
        files.task(**declaration)
        problems = []
    except UserError as error:
        problems = error.problems
    assert sorted(problem.where for problem in problems) == refused
    assert all(f"has no meaning for {name[5:]} files, such as {name}" in problem.message for problem in problems)


def test_an_option_is_for_the_files_of_a_folder_that_it_applies_to(files):
    files.write("data/a.csv", "text;label\none;0\ntwo;1\n")
    files.write("data/b.jsonl", '{"text": "three", "label": 1}\n')
    splits = files.load(train="data", validation="data", delimiter=";")
    assert splits.train["text"][:] == ["one", "two", "three"]


def test_class_weights_are_in_the_order_of_the_classes(files):
    files.write("reviews.csv", STARS)
    labels = {"1": "negative", "5": "positive"}
    assert files.task(**REVIEWS, labels=labels, class_weights={"positive": 3}).class_weights == (1, 3)
    with pytest.raises(UserError, match="no class 'positiv'; did you mean 'positive'"):
        files.task(**REVIEWS, labels=labels, class_weights={"positiv": 3})


@pytest.mark.parametrize("column", ["label", "id", "who"])
def test_nan_is_a_missing_value(files, column):
    rows = pd.DataFrame(
        {"text": list("abcd"), "label": [0.0, 1.0, 0.0, 1.0], "id": [1.0, 2, 3, 4], "who": [1.0, 2, 3, 4]}
    )
    rows.loc[2, column] = float("nan")
    files.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows.to_dict("records")))
    (problem,) = files.problems(train="rows.jsonl", validation=0.5, id="id", group="who")
    assert f"rows.jsonl, line 3, column '{column}': found " in problem
    assert "(1 of 4 rows)" in problem


def test_nan_is_no_label_of_a_multilabel_task_and_no_answer(files):
    files.write(
        "labels.jsonl", '{"text": "a", "label": ["x"]}\n{"text": "b", "label": NaN}\n{"text": "c", "label": ["y"]}\n'
    )
    splits = files.load(kind="multilabel", train="labels.jsonl", validation="labels.jsonl")
    assert splits.train["label"][:] == [[0], [], [1]]
    files.write("qa.jsonl", '{"question": "Who?", "context": "Ada", "answers": NaN}\n')
    splits = files.load(kind="qa", train="qa.jsonl", validation="qa.jsonl", unanswerable=True)
    assert splits.train["answers"][:] == [[]]


HALF = "bad \ud83d"
LABELLED = {"text": "x", "label": ["a", "b"]}
TAGGED = {"tokens": ["x", "y"], "tags": ["B-X", "O"]}


@pytest.mark.parametrize(
    ("kind", "valid", "column", "cell"),
    [
        ("multilabel", LABELLED, "text", HALF),
        ("token_classification", TAGGED, "tokens", ["x", HALF]),
        ("qa", {"question": "x", "context": "x", "answers": "x"}, "context", HALF),
        ("regression", {"text": "x", "label": 1, "id": "a"}, "id", HALF),
    ],
)
def test_half_of_a_surrogate_pair_is_an_error_with_its_line(files, kind, valid, column, cell):
    files.write("rows.jsonl", f"{json.dumps(valid)}\n{json.dumps({**valid, column: cell})}\n")
    named = {"id": "id"} if column == "id" else {}
    problems = files.problems(kind=kind, train="rows.jsonl", validation="rows.jsonl", **named)
    assert f"rows.jsonl, line 2, column '{column}': found half of a surrogate pair, '\\ud83d'" in problems[0]


@pytest.mark.parametrize("kind", ["classification", "multilabel", "token_classification"])
def test_a_class_of_half_a_surrogate_pair_is_an_error_with_its_line(files, kind):
    column = "tags" if kind == "token_classification" else "label"
    cells = {
        "classification": ["a", "b", HALF],
        "multilabel": [["a"], ["b"], json.dumps([HALF])],
        "token_classification": [["B-X"], ["O"], [f"B-{HALF}"]],
    }[kind]
    rows = [{"text": "x", "tokens": ["x"], column: cell} for cell in cells]
    files.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    (problem,) = files.problems(kind=kind, train="rows.jsonl", validation="rows.jsonl")
    assert f"rows.jsonl, line 3, column '{column}': found " in problem


def test_an_integer_that_is_too_large_for_a_number_is_an_error(files):
    files.write("rows.jsonl", '{"text": "x", "label": 1}\n{"text": "x", "label": ' + "9" * 400 + "}\n")
    (problem,) = files.problems(kind="regression", train="rows.jsonl", validation="rows.jsonl")
    assert "rows.jsonl, line 2, column 'label': found 999" in problem
    assert "expected a number" in problem
