"""Values of label columns and their classes."""

import pytest

from harness.api.errors import UserError
from harness.tasks.tabular.class_names import declared_classes, sorted_classes, value_text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([5, 5.0, "5", "5.0", " 5 ", "5.00"], "5"),
        ([True, "true", "True", "TRUE"], "true"),
        ([False, "False"], "false"),
        ([None, "", "  ", float("nan")], ""),
        (["nan"], "nan"),
        ([2.5, "2.5"], "2.5"),
        ([" spaces inside are kept "], "spaces inside are kept"),
        (["007"], "007"),
    ],
)
def test_equal_values_of_all_formats_have_one_text(values, text):
    assert {value_text(value) for value in values} == {text}


def test_a_list_gives_names_and_order():
    classes = declared_classes([False, True])
    assert (classes.names, classes.index) == (("false", "true"), {"false": 0, "true": 1})


def test_a_mapping_names_values_and_may_merge_them():
    classes = declared_classes({"1": "bad", "2": "bad", "3": "good"})
    assert (classes.names, classes.index) == (("bad", "good"), {"1": 0, "2": 0, "3": 1})


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["10", "9", "1", ""], ("1", "9", "10")),
        (["b", "a", "b"], ("a", "b")),
        (["true", "false"], ("false", "true")),
        (["2.5", "-1", "3"], ("-1", "2.5", "3")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["1", "01", "+1", "001", "0"], ("0", "+1", "001", "01", "1")),
    ],
)
def test_without_labels_the_values_are_sorted(values, names):
    assert sorted_classes(values, "rows.csv").names == names


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"], "found 1 classes ('a'), expected 2 to 1000"),
        (list(range(1001)), "found 1001 classes"),
        ([1, 1.0], "duplicate value '1'"),
        ({"true": "x", "True": "y"}, "duplicate value 'true'"),
        (["a", ""], "empty value"),
        ({"1": "same", "2": "same"}, "found 1 classes"),
    ],
)
def test_invalid_labels(labels, message):
    with pytest.raises(UserError) as caught:
        declared_classes(labels)
    assert message in str(caught.value)


def test_a_column_of_numbers_suggests_a_regression():
    with pytest.raises(UserError, match="kind: regression"):
        sorted_classes((str(number) for number in range(1001)), "rows.csv, column 'x':")


def test_too_many_texts_suggest_another_column():
    with pytest.raises(UserError, match=r"is this the column of the labels\?$"):
        sorted_classes((f"text {number}" for number in range(1001)), "rows.csv, column 'x':")


def test_a_thousand_classes_are_allowed():
    assert len(declared_classes(list(range(1000))).names) == 1000
