"""Labels of the data and classes of the teacher."""

import pytest

from harness.api.errors import UserError
from harness.distill.teacher_facts import kind_of_labels, match_labels

CLASSES = ("NEGATIVE", "POSITIVE")


def test_values_match_names_in_the_order_of_the_teacher():
    assert match_labels(["positive", "Negative", ""], {}, CLASSES) == {"Negative": "NEGATIVE", "positive": "POSITIVE"}


def test_class_numbers_are_taken_as_numbers():
    assert match_labels([1, 0, 1.0], {}, CLASSES) == {"0": "NEGATIVE", "1": "POSITIVE"}


def test_given_names_decide():
    given = {"5": "POSITIVE", "1": "NEGATIVE"}
    assert list(match_labels([1, 5], given, CLASSES).items()) == [("1", "NEGATIVE"), ("5", "POSITIVE")]
    with pytest.raises(UserError, match="label '3'"):
        match_labels([1, 3, 5], given, CLASSES)


def test_other_values_are_an_error_that_shows_what_to_type():
    with pytest.raises(
        UserError, match=r"labels of the data are 1, 5, the teacher's classes NEGATIVE, POSITIVE.*--class 1="
    ):
        match_labels([1, 5], {}, CLASSES)


def test_a_teacher_without_a_head_leaves_the_labels_alone():
    assert match_labels(["a", "b"], {}, ()) is None


def test_many_numbers_are_a_regression():
    assert kind_of_labels([index / 7 for index in range(200)]) == "regression"
    assert kind_of_labels([1, 2, 3, 4, 5] * 40) == "classification"
    assert kind_of_labels([f"c{index}" for index in range(200)]) == "classification"
