"""Columns of a data file, from their names or contents."""

import pytest

from harness.api.errors import UserError
from harness.distill.data_columns import DataColumns, find_columns
from harness.tasks.tabular.lazy_cells import LazyCells

TEXTS = ["a fine film", "not a fine film"]


def find(columns, text=None, text_pair=None, label=None):
    return find_columns(columns, text=text, text_pair=text_pair, label=label)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"review": TEXTS, "stars": [1, 2]}, DataColumns("review", "stars")),
        ({"id": ["1", "2"], "body of the mail": TEXTS, "label": ["a", "b"]}, DataColumns("body of the mail", "label")),
        ({"comment": TEXTS, "kind of": ["a", "b"], "Label": [0, 1]}, DataColumns("comment", "Label")),
        (
            {"premise": TEXTS, "hypothesis": TEXTS, "label": [0, 1]},
            DataColumns("premise", "label", "hypothesis"),
        ),
    ],
)
def test_columns_are_guessed(columns, expected):
    assert find(columns) == expected


def test_pairs_are_guessed_whatever_their_case():
    assert find({"Premise": TEXTS, "Hypothesis": TEXTS, "Label": [0, 1]}) == DataColumns(
        "Premise", "Label", "Hypothesis"
    )


def test_given_columns_are_taken():
    columns = {"title": TEXTS, "body": TEXTS, "topic": ["a", "b"], "stars": [1, 2]}
    assert find(columns, text="body", label="topic") == DataColumns("body", "topic")
    assert find(columns, text="title", text_pair="body", label="stars") == DataColumns("title", "stars", "body")


@pytest.mark.parametrize(("first", "second"), [("premise", "hypothesis"), ("Question", "Context")])
def test_half_of_a_usual_pair_is_an_error_until_the_other_one_is_named_or_left_out(first, second):
    columns = {first: TEXTS, second: TEXTS, "label": [0, 1]}
    with pytest.raises(UserError, match=rf"--text-pair {second}, or leave it out: --text-pair ''"):
        find(columns, text=first)
    assert find(columns, text=first, text_pair=second) == DataColumns(first, "label", second)
    assert find(columns, text=first, text_pair="") == DataColumns(first, "label")
    assert find(columns, text=second) == DataColumns(second, "label")
    assert find({**columns, "x": [1, 2]}, text=first, label=second) == DataColumns(first, second)


def test_invalid_columns_are_texts_only_if_they_are_named():
    def invalid():
        raise ValueError("year 11476 is out of range")

    columns = {"when": LazyCells(2, invalid, "rows.parquet, column 'when'"), "comment": TEXTS, "label": [0, 1]}
    assert find(columns, text="comment") == DataColumns("comment", "label")
    with pytest.raises(UserError, match="cannot guess which column is the text"):
        find(columns)


def test_ambiguous_and_unknown_columns_are_errors_with_the_remedy():
    two = {"title": TEXTS, "body": TEXTS, "label": [0, 1]}
    with pytest.raises(UserError, match="which column is the text; name it: --text NAME; columns: title, body, label"):
        find(two)
    with pytest.raises(UserError, match="which column is the label"):
        find({"text": TEXTS, "a": [1, 2], "b": [1, 2]})
    with pytest.raises(UserError) as caught:
        find(two, text="titel", label="lable")
    assert [problem.where for problem in caught.value.problems] == ["--text", "--label"]
    assert "title" in str(caught.value)
