import math

import pyarrow as pa
import pytest

from harness.analysis.example_errors import errors
from harness.analysis.prediction_checks import fault
from harness.analysis.prediction_tables import TaskExamples
from harness.storage.plan_file import PlannedTask
from tests.support.results_factory import SQUAD, SST2

NAMED = SST2.model_copy(update={"labels": ["bad", "good"]})
STSB = PlannedTask(name="stsb", kind="regression", score="pearson", synthetic=False)


@pytest.fixture
def table():
    examples = TaskExamples(SST2)

    def made(labels, predictions, scores=None):
        ids = [str(n) for n in range(len(labels))]
        columns = {"id": ids, "prediction": predictions, "label": labels, "split": ["validation"] * len(ids)}
        return examples.predictions(pa.table(columns | ({"scores": scores} if scores else {})))

    return made


def test_wrong_classes_are_ordered_by_confidence(table):
    predictions = table([0, 0, 1, 1, 0], [1, 0, 0, 1, 1], [[0.0, 1.0], [2.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    result = errors(NAMED, predictions, None, 10)
    assert (result.examples, result.wrong, result.differs) == (5, 3, None)
    assert result.confusion == [[1, 2], [1, 1]]
    assert [(e.id, e.gold, e.predicted, e.teacher) for e in result.shown] == [
        ("2", "good", "bad", None),
        ("4", "bad", "good", None),
        ("0", "bad", "good", None),
    ]
    assert result.shown[0].size == pytest.approx(1 / (1 + math.exp(-3)))


def test_half_of_the_examples_differ_from_the_teacher(table):
    labels = [0] * 8
    predictions = table(labels, [1] * 8, [[0.0, 8.0 - n] for n in range(8)])
    teacher = table(labels, [1] * 6 + [0] * 2)
    result = errors(NAMED, predictions, teacher, 4)
    assert [e.id for e in result.shown] == ["0", "1", "6", "7"]
    assert [e.differs for e in result.shown] == [False, False, True, True]
    assert (result.wrong, result.differs) == (8, 2)


def test_teacher_with_other_examples_is_ignored(table):
    result = errors(NAMED, table([0, 1], [1, 1]), table([0, 0], [0, 0]), 5)
    assert result.differs is None
    assert result.shown[0].teacher is None


def test_answer_texts_are_ordered_by_f1(table):
    predictions = table([["green house"], ["green", "a green one"], ["red"]], ["green", "The green!", "blue"])
    result = errors(
        SQUAD, predictions, table([["green house"], ["green", "a green one"], ["red"]], ["green", "", "red"]), 5
    )
    assert [(e.id, e.gold, e.predicted, e.teacher) for e in result.shown] == [
        ("2", "red", "blue", "red"),
        ("0", "green house", "green", "green"),
    ]
    assert (result.wrong, result.differs, result.confusion) == (2, 1, None)


def test_empty_prediction_is_right_for_unanswerable_question(table):
    result = errors(SQUAD, table([[], []], ["", "x"]), None, 5)
    assert [(e.id, e.gold, e.predicted) for e in result.shown] == [("1", "no answer", "x")]


def test_squad_version_follows_the_recorded_exact_match(table):
    """Version 1 accepts an empty answer as exact if a right answer has no words; version 2 does not."""
    predictions = table([[".", "word"], ["red"]], ["", "red"])
    assert [errors(SQUAD, predictions, None, 5, exact=exact).wrong for exact in (100.0, 50.0, None)] == [0, 1, 0]
    with_none = table([[".", "word"], [], []], ["", "", "x"])
    assert errors(SQUAD, with_none, None, 5, exact=100 / 3).wrong == 2
    assert errors(SQUAD, with_none, None, 5).wrong == 2


def test_regression_shows_largest_residuals(table):
    result = errors(STSB, table([1.0, 2.0, 3.0], [1.5, 2.0, 0.0]), table([1.0, 2.0, 3.0], [1.5, 2.1, 3.0]), 5)
    assert [(e.id, e.gold, e.predicted, e.teacher, e.differs) for e in result.shown] == [
        ("2", "3.00", "0.00", "3.00", True),
        ("0", "1.00", "1.50", "1.50", False),
    ]
    assert result.wrong is None


def test_hidden_labels_give_no_errors(table):
    assert errors(NAMED, table([-1, -1], [0, 1]), None, 5) is None


def test_no_confusion_matrix_for_many_classes(table):
    many = list(range(30))
    assert errors(SST2, table(many, many), None, 5).confusion is None


def read(kind, labels, predictions, scores=None, names=("a", "b", "c")):
    task = PlannedTask(name="t", kind=kind, score="s", synthetic=False, labels=list(names))
    ids = [str(n) for n in range(len(labels))]
    columns = {"id": ids, "prediction": predictions, "label": labels, "split": ["validation"] * len(ids)}
    table = pa.table(columns | ({"scores": scores} if scores else {}))
    assert fault(table, task) is None
    return task, TaskExamples(task).predictions(table)


def test_wrong_sets_of_classes_are_ordered_by_the_probability_of_wrong_decisions():
    scores = [[2.0, -1.0, -1.0], [3.0, 0.5, -1.0], [-1.0, -1.0, 1.0]]
    task, table = read("multilabel", [[0], [], [0, 2]], [[0], [0, 1], [2]], scores)
    result = errors(task, table, table, 5)
    assert (result.examples, result.wrong, result.differs, result.confusion) == (3, 2, 0, None)
    assert [(e.id, e.gold, e.predicted) for e in result.shown] == [("1", "none", "a, b"), ("2", "a, c", "c")]
    sigmoid = [1 / (1 + math.exp(-z)) for z in (3.0, 0.5)]
    assert result.shown[0].size == pytest.approx(sum(sigmoid))
    assert errors(*read("multilabel", [[-1], [-1]], [[0], []]), None, 5) is None


def test_wrong_tags_are_counted_and_shown_as_entities():
    names = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    labels = [["O", "B-PER", "I-PER"], ["O", "O"], ["B-LOC"]]
    task, table = read("token_classification", labels, [["B-LOC", "O", "O"], ["O", "O"], ["O"]], names=names)
    result = errors(task, table, None, 5)
    assert (result.examples, result.wrong) == (3, 2)
    shown = [(e.id, e.gold, e.predicted, e.size) for e in result.shown]
    assert shown == [("0", "PER 2-3", "LOC 1", 3), ("2", "LOC 1", "no entity", 1)]
    assert errors(*read("token_classification", [["", ""]], [["O", "O"]], names=names), None, 5) is None


@pytest.mark.parametrize(
    ("kind", "labels", "predictions", "found"),
    [
        ("multilabel", [[0]], [[3]], "column 'prediction' has class 3, expected 0 to 2"),
        ("multilabel", [[0]], [["a"]], "expected lists of class numbers"),
        ("token_classification", [["a"]], [["B"]], "has the tag 'B', which is none of the task's"),
        ("token_classification", [["a"]], [["a", "a"]], "other numbers of tags than column 'label'"),
    ],
)
def test_columns_of_lists_are_checked(kind, labels, predictions, found):
    with pytest.raises(AssertionError, match=found):
        read(kind, labels, predictions)
