"""Labels of the data and classes of the teacher."""

import pytest

from harness.api.errors import UserError
from harness.distill import label_matching
from harness.distill.teacher_facts import kind_of_labels

CLASSES = ("NEGATIVE", "POSITIVE")


def match_labels(cells, given, classes):
    return label_matching.match(cells, given, classes, "stars")


def test_values_match_names_in_the_order_of_the_teacher():
    assert match_labels(["positive", "Negative", ""], {}, CLASSES) == {"Negative": "NEGATIVE", "positive": "POSITIVE"}


def test_class_numbers_are_taken_as_numbers():
    assert match_labels([1, 0, 1.0], {}, CLASSES) == {"0": "NEGATIVE", "1": "POSITIVE"}


def test_class_numbers_may_lack_a_class_between_the_first_and_the_last():
    names = ("negative", "neutral", "positive")
    expected = [("0", "negative"), ("neutral", "neutral"), ("2", "positive")]
    assert list(match_labels([2, 0, 2], {}, names).items()) == expected


@pytest.mark.parametrize("cells", [[1, 2, 3, 4, 5], [1, 2, 3, 4], [0, 1], [0, 1, 2], [0, 4, 5], [-1, 0, 4]])
def test_numbers_that_may_mean_something_else_are_no_class_numbers(cells):
    with pytest.raises(UserError, match=f"--class {sorted(map(str, cells))[0]}=NAME"):
        match_labels(cells, {}, ("1 star", "2 stars", "3 stars", "4 stars", "5 stars"))


def test_given_names_decide():
    given = {"5": "positive", "1": "NEGATIVE"}
    assert list(match_labels([1, 5], given, CLASSES).items()) == [("1", "NEGATIVE"), ("5", "POSITIVE")]
    with pytest.raises(UserError, match="other labels, too: 3; add --class 3=NAME, or remove"):
        match_labels([1, 3, 5], given, CLASSES)
    with pytest.raises(UserError, match="no class 'POSITIV'; did you mean 'POSITIVE'"):
        match_labels([1, 5], {**given, "5": "POSITIV"}, CLASSES)


def test_other_values_are_an_error_that_shows_what_to_type():
    with pytest.raises(UserError) as error:
        match_labels([1, "so so"], {}, CLASSES)
    assert str(error.value) == (
        "--class: the labels in column 'stars' are 1, so so, the teacher's classes NEGATIVE, POSITIVE; say which class"
        " each label is: --class 1=NAME --class 'so so'=NAME; or name another column: --label NAME"
    )


def test_a_column_of_texts_gives_a_short_message():
    with pytest.raises(UserError, match="--class VALUE=NAME") as error:
        match_labels([f"{index} {'long ' * 1000}" for index in range(500)], {}, CLASSES)
    assert len(str(error.value)) < 1000


def test_classes_without_examples_are_classes():
    classes = ("negative", "neutral", "positive")
    expected = [("negative", "negative"), ("neutral", "neutral"), ("Positive", "positive")]
    assert list(match_labels(["Positive", "negative"], {}, classes).items()) == expected
    given = {"1": "negative", "5": "positive"}
    expected = [("1", "negative"), ("neutral", "neutral"), ("5", "positive")]
    assert list(match_labels([1, 5], given, classes).items()) == expected


@pytest.mark.parametrize(
    ("given", "classes", "expected"),
    [
        (
            {"negative": "negative", "neutral": "negative", "positive": "positive"},
            ("negative", "neutral", "positive"),
            {
                "negative": "negative",
                "neutral": "negative",
                "neutral (no examples)": "neutral",
                "positive": "positive",
            },
        ),
        (
            {"1": "1", "2": "3", "3": "5"},
            ("1", "2", "3", "4", "5"),
            {"1": "1", "2 (no examples)": "2", "2": "3", "4": "4", "3": "5"},
        ),
        (
            {"1": "0", "2 (no examples)": "1.0", "2": "0"},
            ("0", "1.0", "2"),
            {"1": "0", "2": "0", "2 (no examples)": "1.0", "2 (no examples) (no examples)": "2"},
        ),
        ({"1": "0", "2": "2"}, ("0", "1.0", "2"), {"1": "0", "1.0 (no examples)": "1.0", "2": "2"}),
    ],
)
def test_a_class_without_examples_takes_no_value_from_another(given, classes, expected):
    assert list(match_labels(list(given), given, classes).items()) == list(expected.items())


@pytest.mark.parametrize(
    ("cells", "given", "message"),
    [
        (["positive"] * 3, {}, "all examples have the class POSITIVE"),
        ([4, 5], {"4": "POSITIVE", "5": "POSITIVE"}, "all examples have the class POSITIVE"),
        (["", None], {}, "no example has a label"),
    ],
)
def test_one_class_alone_is_an_error(cells, given, message):
    with pytest.raises(UserError, match=f"{message}; a classifier needs examples of two classes"):
        match_labels(cells, given, CLASSES)


def test_a_teacher_without_a_head_leaves_the_labels_alone():
    assert match_labels(["a", "b"], {}, ()) is None


def test_labels_of_a_multilabel_column_are_matched_one_by_one():
    cells = ["Cheap;fast", "", None, float("nan"), "fast"]
    values = label_matching.label_values(cells, "multilabel", ";")
    assert values == ["Cheap", "fast", "fast"]
    expected = [("Cheap", "cheap"), ("fast", "fast"), ("loud", "loud")]
    assert list(label_matching.match(values, {}, ("cheap", "fast", "loud"), "tags").items()) == expected
    assert label_matching.label_values([["a"], '["b", 1.0]'], "multilabel", None) == ["a", "b", "1"]
    assert label_matching.label_values(["a;b"], "multilabel", None) is None
    assert label_matching.label_values(["a;b"], "classification", ";") == ["a;b"]


def test_a_task_of_several_labels_may_have_examples_of_one_class():
    assert label_matching.match(["a"], {}, ("a", "b"), "tags", fewest=1) == {"a": "a", "b": "b"}
    with pytest.raises(UserError, match="no example has a label; a classifier needs examples with labels"):
        label_matching.match([], {}, ("a", "b"), "tags", fewest=1)


def test_many_numbers_are_a_regression():
    assert kind_of_labels([index / 7 for index in range(200)]) == "regression"
    assert kind_of_labels([None, float("nan"), *(index / 7 for index in range(200))]) == "regression"
    assert kind_of_labels([1, 2, 3, 4, 5] * 40) == "classification"
    assert kind_of_labels([f"c{index}" for index in range(200)]) == "classification"
