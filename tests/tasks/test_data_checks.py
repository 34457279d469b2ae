"""Each way in which a task's examples can be invalid, for every kind of task: one message that names the row."""

import random
import re

import pyarrow as pa
import pytest
from datasets import Dataset

from harness.api.errors import UserError
from harness.api.task import Splits
from harness.tasks.data_checks import refuse_invalid
from tests.support.tiny_tasks import task

NAN, INF = float("nan"), float("inf")

IDS = pa.array(list("abcdef"))
TEXTS = pa.array([f"text {letter}" for letter in "abcdef"])
ANSWERS = pa.array([[{"text": "text", "start": 0}]] * 6)

TASKS = {
    "classification": task("classification"),
    "pairs": task("classification", paired=True),
    "regression": task("regression", label_range=(0.0, 5.0)),
    "any number": task("regression"),
    "qa": task("qa", unanswerable=False),
    "qa with none": task("qa"),
}
CLASSES, NUMBERS = pa.array([0, 1, 1, 0, 1, 0]), pa.array([0.0, 5.0, 2.5, 1.0, 1.0, 3.0])
COLUMNS = {
    "classification": {"id": IDS, "text": TEXTS, "label": CLASSES},
    "pairs": {"id": IDS, "text": TEXTS, "text_pair": TEXTS, "label": CLASSES},
    "regression": {"id": IDS, "text": TEXTS, "label": NUMBERS},
    "any number": {"id": IDS, "text": TEXTS, "label": NUMBERS},
    "qa": {"id": IDS, "question": TEXTS, "context": TEXTS, "answers": ANSWERS},
    "qa with none": {"id": IDS, "question": TEXTS, "context": TEXTS, "answers": ANSWERS},
}


def check(name: str, train: dict, validation: dict | None = None) -> None:
    train, validation = (Dataset(pa.table(columns)) for columns in (train, validation or COLUMNS[name]))
    refuse_invalid(TASKS[name], Splits(train, {"matched": validation}))


def message(name: str, column: str, values: pa.Array, split: str = "train") -> str:
    columns = COLUMNS[name] | {column: values}
    with pytest.raises(UserError) as caught:
        check(name, *((columns,) if split == "train" else (COLUMNS[name], columns)))
    assert len(caught.value.problems) == 1
    return str(caught.value)


@pytest.mark.parametrize("name", TASKS)
def test_valid_examples_pass(name):
    check(name, COLUMNS[name])


def test_ids_may_occur_in_several_splits_but_once_in_each():
    values = pa.array(["a", "b", "c", "b", "c", "b"])
    text = message("classification", "id", values, "validation")
    assert re.search(r"split 'matched', column 'id', row 1: found the duplicate id 'b' in 3 rows, .*3 duplicates", text)


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("name", TASKS)
def test_a_missing_column_names_the_nearest(name, split):
    for column in COLUMNS[name]:
        columns = {f"{column}s" if key == column else key: values for key, values in COLUMNS[name].items()}
        with pytest.raises(UserError, match=rf"no column '{column}'; did you mean '{column}s'\?"):
            check(name, *((columns,) if split == "train" else (COLUMNS[name], columns)))


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("name", TASKS)
def test_a_null_names_row_id_and_count(name, split):
    for column, values in COLUMNS[name].items():
        holes = pa.array([None if row in (2, 4) else value for row, value in enumerate(values.to_pylist())])
        text = message(name, column, holes, split)
        where = "" if column == "id" else r" \(id 'c'\)"
        name_of_split = "matched" if split == "validation" else split
        place = rf"split '{name_of_split}', column '{column}', row 2{where}"
        assert re.search(rf"{place}: found null, expected .* \(2 of 6 rows", text), text


LABELS = [
    ("classification", [0, 1, 7, 0, 1, 1], r"row 2 \(id 'c'\): found 7, expected a class from 0 to 1.* \(1 of 6"),
    ("classification", [0, 1, -1, 0, 1, -1], r"row 2 .*found -1, expected a class from 0 to 1.*2 of 6 rows, also 'f'"),
    ("classification", [0.0, 1.0, 0.5, 0.0, 1.0, 1.0], "row 2 .*found 0.5, expected a class"),
    ("classification", [0.0, NAN, 1.0, 0.0, 1.0, 1.0], "row 1 .*found nan, expected a class"),
    ("classification", ["0", "1", "1", "0", "1", "1"], "found values of type string, such as '0', expected a class"),
    ("classification", [True, False] * 3, "found values of type bool, such as True, expected a class"),
    ("classification", [[0]] * 6, "found values of type list<.*>, such as"),
    ("regression", [0.0, NAN, 1.0, 0.0, 1.0, NAN], r"row 1 .*found nan, expected a finite number from 0 to 5 \(2 of 6"),
    ("regression", [0.0, INF, 1.0, 0.0, 1.0, 1.0], "row 1 .*found inf, expected a finite number"),
    ("regression", [0.0, -INF, 1.0, 0.0, 1.0, 1.0], "row 1 .*found -inf, expected a finite number"),
    ("regression", [0.0, 5.5, 1.0, 0.0, 1.0, 1.0], "row 1 .*found 5.5, expected a finite number from 0 to 5"),
    ("regression", [-1.0] * 6, "row 0 .*found -1 in every row, which means hidden labels"),
    ("any number", [-1] * 6, "row 0 .*found -1 in every row, which means hidden labels"),
    ("regression", ["4.5"] * 6, "found values of type string, such as '4.5', expected a finite number"),
]


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize(("name", "labels", "expected"), LABELS)
def test_an_invalid_label(name, labels, expected, split):
    assert re.search(
        f"column 'label'(, )?{expected}|column 'label': {expected}", message(name, "label", pa.array(labels), split)
    )


def test_null_and_a_wrong_class_in_one_column_are_both_reported():
    with pytest.raises(UserError) as caught:
        check("classification", COLUMNS["classification"] | {"label": pa.array([0, None, 7, 0, 1, 1])})
    assert [re.search("row . .*found (.*?),", str(problem))[1] for problem in caught.value.problems] == ["null", "7"]


def test_hidden_classes_are_allowed_in_validation_and_not_in_training():
    hidden = pa.array([-1] * 6)
    check("classification", COLUMNS["classification"], COLUMNS["classification"] | {"label": hidden})
    assert "found -1 in every row, which means hidden labels" in message("classification", "label", hidden)


def test_any_finite_number_is_allowed_without_a_label_range():
    check("any number", COLUMNS["any number"] | {"label": pa.array([-1, -1, 700, 0, 2, 1])})


def test_whole_numbers_written_as_floats_are_classes():
    check("classification", COLUMNS["classification"] | {"label": pa.array([0.0, 1.0, 1.0, 0.0, 1.0, 1.0])})


@pytest.mark.parametrize("column", ["text", "text_pair", "id"])
def test_a_column_of_numbers_is_not_text(column):
    expected = rf"column '{column}': found values of type int64, such as 3, expected text"
    assert re.search(expected, message("pairs", column, pa.array([3, 4, 5, 6, 7, 8])))


ANSWERED = [
    ([{"text": "text", "start": 7}], "'text' at 7, where the context has ''"),
    ([{"text": "text", "start": -1}], "'text' at -1"),
    ([{"text": "text", "start": 1}], "'text' at 1, where the context has 'ext '"),
    ([{"text": "", "start": 1}], "{'text': '', 'start': 1}"),
    ([{"text": None, "start": 1}], "{'text': None"),
    ([{"text": "text", "start": None}], "{'text': 'text', 'start': None}"),
    ([None], "None"),
]


@pytest.mark.parametrize("name", ["qa", "qa with none"])
@pytest.mark.parametrize(("answers", "found"), ANSWERED)
def test_an_answer_that_is_not_at_its_start(name, answers, found):
    good = [{"text": "text", "start": 0}]
    text = message(name, "answers", pa.array([good, good, answers, good, good, answers]))
    assert f"column 'answers', row 2 (id 'c'): found {found}" in text
    assert "(2 of 6 rows, also 'f')" in text


def test_a_question_without_an_answer_is_allowed_where_the_task_says_so():
    answers = pa.array([*ANSWERS.to_pylist()[:5], []], type=ANSWERS.type)
    check("qa with none", COLUMNS["qa"] | {"answers": answers})
    assert "row 5 (id 'f'): found no answer, expected an answer to each question" in message("qa", "answers", answers)


@pytest.mark.parametrize("name", TASKS)
def test_an_empty_split_is_refused(name):
    columns = {column: values.slice(0, 0) for column, values in COLUMNS[name].items()}
    with pytest.raises(UserError, match="split 'train': the split has no examples"):
        check(name, columns)


JUNK = [
    None,
    NAN,
    INF,
    -INF,
    -1,
    7,
    0.5,
    "",
    "word",
    "\N{GRINNING FACE}",
    True,
    [],
    [1],
    {},
    {"text": "text"},
    b"x",
    10**18,
]


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("seed", range(40))
def test_corrupt_columns_pass_or_are_refused_in_one_error(name, seed):
    """Any content of a column is either valid or raises `UserError`."""
    rng = random.Random(f"{name} {seed}")
    columns = dict(COLUMNS[name])
    column = rng.choice(list(columns))
    junk, values = rng.choices(JUNK, k=3), columns[column].to_pylist()
    values = [rng.choice(junk) if rng.random() < rng.choice((0.2, 1)) else value for value in values]
    try:
        columns[column] = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # values that no column can hold together
        columns[column] = pa.array([rng.choice(JUNK)] * 6)
    changed = [
        new is None or new != old
        for new, old in zip(columns[column].to_pylist(), COLUMNS[name][column].to_pylist(), strict=True)
    ]
    problems = problems_in(name, columns)
    values = columns[column].to_pylist()
    if problems:
        places = (column, "answers") if column == "context" else (column,)  # the answers are no longer in it
        assert all(any(f"column '{place}'" in problem for place in places) for problem in problems)
        assert any(changed)
    elif column == "label":
        low, high = {"any number": (-1e30, 1e30), "regression": (0, 5)}.get(name, (0, 1))
        assert all(low <= value <= high for value in values)
    elif column == "answers":
        assert all(answer == {"text": "text", "start": 0} for answers in values for answer in answers)
    else:
        assert all(isinstance(value, str) for value in values)


def problems_in(name: str, columns: dict) -> list[str]:
    try:
        check(name, columns)
    except UserError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_a_suite_is_refused_before_anything_is_trained(small, monkeypatch):
    plugin = small.folder / "order.py"
    text = plugin.read_text(encoding="utf-8")
    plugin.write_text(text.replace("ids = [str(i) for i", "ids = [str(i % 40) for i"), encoding="utf-8")
    with pytest.raises(
        UserError, match=r"task 'order', split 'train', column 'id', row 0: found the duplicate id '0' in 3 rows"
    ):
        small.plan()


def lists(kind, column, values, **others):
    """Problems of a task whose label column has these values; row 1 is the one that tests are about."""
    columns = {"id": IDS.slice(0, 3), **others, column: pa.array(values)}
    part = Dataset(pa.table(columns))
    with pytest.raises(UserError) as error:
        refuse_invalid(task(kind), Splits(part, {}))
    return str(error.value)


@pytest.mark.parametrize(
    ("label", "found"),
    [([0, 3], r"\[0, 3\]"), ([2, 1], r"\[2, 1\]"), ([1, 1], r"\[1, 1\]"), (None, "null"), ([None], r"\[None\]")],
)
def test_an_invalid_list_of_classes(label, found):
    text = lists("multilabel", "label", [[0], label, []], text=TEXTS.slice(0, 3))
    expected = "a list of classes from 0 to 2, ascending and without duplicates"
    assert re.search(rf"column 'label', row 1 \(id 'b'\): found {found}, expected {expected} \(1 of 3 rows\)", text)


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ([0], "1 tags for 2 words"),
        ([0, 5], "the tag 5"),
        ([-1, 0], "the tag -1"),
        (None, "null"),
        ([0, None], r"\[0, None\]"),
    ],
)
def test_invalid_tags(tags, found):
    tokens = pa.array([["a"], ["b", "c"], ["d"]])
    text = lists("token_classification", "tags", [[0], tags, [1]], tokens=tokens)
    expected = "a list with one class from 0 to 4 for each word"
    assert re.search(rf"column 'tags', row 1 \(id 'b'\): found {found}, expected {expected} \(1 of 3 rows\)", text)


@pytest.mark.parametrize("tokens", [None, ["b", None]])
def test_invalid_words(tokens):
    text = lists("token_classification", "tags", [[0]] * 3, tokens=pa.array([["a"], tokens, ["d"]]))
    assert re.search(r"column 'tokens', row 1 \(id 'b'\): found .*, expected a list of words \(1 of 3 rows\)", text)


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("multilabel", {"text": TEXTS, "label": pa.array([[-1]] * 6)}),
        ("token_classification", {"tokens": pa.array([["a"]] * 6), "tags": pa.array([[-1]] * 6)}),
    ],
)
def test_labels_in_lists_are_hidden_in_validation_splits_only(kind, columns):
    hidden = Dataset(pa.table({"id": IDS, **columns}))
    column = "label" if kind == "multilabel" else "tags"
    labelled = Dataset(pa.table({"id": IDS, **columns, column: pa.array([[0]] * 6)}))
    refuse_invalid(task(kind), Splits(labelled, {"test": hidden}))
    with pytest.raises(UserError, match=r"split 'train', column '\w+', row 0 .*which means hidden"):
        refuse_invalid(task(kind), Splits(hidden, {}))
