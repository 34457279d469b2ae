import math

import pyarrow as pa
import pytest

from harness.analysis.prediction_tables import PredictionTable
from harness.reporting.page.example_errors import errors
from harness.storage.records import PlannedTask
from tests.support.results_factory import SQUAD, SST2

NAMED = SST2.model_copy(update={"labels": ["bad", "good"]})
STSB = PlannedTask(name="stsb", kind="regression", score="pearson", synthetic=False)


def table(labels, predictions, scores=None):
    ids = [str(n) for n in range(len(labels))]
    columns = {"id": ids, "prediction": predictions, "label": labels, "split": ["validation"] * len(ids)}
    return PredictionTable(pa.table(columns | ({"scores": scores} if scores else {})))


def test_classes_most_confident_first():
    own = table([0, 0, 1, 1, 0], [1, 0, 0, 1, 1], [[0.0, 1.0], [2.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    found = errors(NAMED, own, None, 10)
    assert (found.examples, found.wrong, found.differs) == (5, 3, None)
    assert found.confusion == [[1, 2], [1, 1]]
    assert [(e.at, e.gold, e.predicted, e.teacher) for e in found.shown] == [
        (2, "good", "bad", None),
        (4, "bad", "good", None),
        (0, "bad", "good", None),
    ]
    assert found.shown[0].size == pytest.approx(1 / (1 + math.exp(-3)))


def test_half_of_the_places_are_for_what_the_teacher_says_otherwise():
    labels = [0] * 8
    own = table(labels, [1] * 8, [[0.0, 8.0 - n] for n in range(8)])
    teacher = table(labels, [1] * 6 + [0] * 2)
    found = errors(NAMED, own, teacher, 4)
    assert [e.at for e in found.shown] == [0, 1, 6, 7]
    assert [e.differs for e in found.shown] == [False, False, True, True]
    assert (found.wrong, found.differs) == (8, 2)


def test_a_teacher_of_other_examples_is_not_compared():
    found = errors(NAMED, table([0, 1], [1, 1]), table([0, 0], [0, 0]), 5)
    assert found.differs is None
    assert found.shown[0].teacher is None


def test_answer_texts_farthest_from_right_first():
    own = table([["green house"], ["green", "a green one"], ["red"]], ["green", "The green!", "blue"])
    found = errors(SQUAD, own, table([["green house"], ["green", "a green one"], ["red"]], ["green", "", "red"]), 5)
    assert [(e.at, e.gold, e.predicted, e.teacher) for e in found.shown] == [
        (2, "red", "blue", "red"),
        (0, "green house", "green", "green"),
    ]
    assert (found.wrong, found.differs, found.confusion) == (2, 1, None)


def test_a_question_without_an_answer_is_right_where_none_is_given():
    found = errors(SQUAD, table([[], []], ["", "x"]), None, 5)
    assert [(e.at, e.gold, e.predicted) for e in found.shown] == [(1, "no answer", "x")]


def test_answers_are_right_as_the_version_of_squad_has_them():
    """A right answer without words counts in version 1 alone; there, to say nothing may be exact."""
    own = table([[".", "word"], ["red"]], ["", "red"])
    assert [errors(SQUAD, own, None, 5, exact=exact).wrong for exact in (100.0, 50.0, None)] == [0, 1, 0]
    with_none = table([[".", "word"], [], []], ["", "", "x"])
    assert errors(SQUAD, with_none, None, 5, exact=100 / 3).wrong == 2
    assert errors(SQUAD, with_none, None, 5).wrong == 2


def test_largest_residuals_of_a_regression():
    found = errors(STSB, table([1.0, 2.0, 3.0], [1.5, 2.0, 0.0]), table([1.0, 2.0, 3.0], [1.5, 2.1, 3.0]), 5)
    assert [(e.at, e.gold, e.predicted, e.teacher, e.differs) for e in found.shown] == [
        (2, "3.00", "0.00", "3.00", True),
        (0, "1.00", "1.50", "1.50", False),
    ]
    assert found.wrong is None


def test_hidden_labels_tell_of_no_errors():
    assert errors(NAMED, table([-1, -1], [0, 1]), None, 5) is None


def test_too_many_classes_for_a_table():
    many = list(range(30))
    assert errors(SST2, table(many, many), None, 5).confusion is None
