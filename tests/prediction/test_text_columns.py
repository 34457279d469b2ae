"""The columns that a model reads are guessed by usual names, or are the only texts."""

import pyarrow as pa
import pytest

from harness.api.errors import UserError
from harness.prediction import text_columns
from harness.prediction.tables import Table
from tests.support.odd_columns import ODD, odd_table


def typed(columns):
    return Table(list(columns), pa.table(columns))


def table(*names):
    return typed({name: ["a text"] for name in names} | {"id": [1], "price": ["12.5"]})


def find(*names, text=None, text_pair=None, paired=None):
    return text_columns.find(table(*names), text=text, text_pair=text_pair, paired=paired)


@pytest.mark.parametrize(
    ("names", "paired", "expected"),
    [
        (["text", "title"], None, ("text",)),
        (["sentence", "comment"], False, ("sentence",)),
        (["comment"], None, ("comment",)),
        (["hypothesis", "premise"], None, ("premise", "hypothesis")),
        (["sentence1", "sentence2"], True, ("sentence1", "sentence2")),
        (["question", "context", "title"], True, ("question", "context")),
        (["text", "text_pair"], False, ("text",)),
    ],
)
def test_guessed_columns(names, paired, expected):
    assert find(*names, paired=paired) == expected


@pytest.mark.parametrize("paired", [None, False])
def test_half_of_a_usual_pair_is_refused_if_the_model_may_read_pairs(paired):
    names = ("Premise", "Hypothesis")
    if paired is None:
        with pytest.raises(UserError, match=r"--text-pair Hypothesis, or leave it out: --text-pair ''"):
            find(*names, text="Premise", paired=paired)
    else:
        assert find(*names, text="Premise", paired=paired) == ("Premise",)
    assert find(*names, text="Premise", text_pair="", paired=paired) == ("Premise",)
    assert find("text", "text_pair", text_pair="", paired=paired) == ("text",)


@pytest.mark.parametrize("name", ODD)
def test_columns_that_python_cannot_read_are_texts_only_if_they_are_named(name):
    odd = odd_table(name, comment=["a text"] * 4)
    values = Table(odd.column_names, odd)
    assert text_columns.find(values, text="comment", text_pair=None, paired=None) == ("comment",)
    with pytest.raises(UserError, match="cannot guess which column holds the text; name it"):
        text_columns.find(values, text=None, text_pair=None, paired=None)
    with pytest.raises(UserError, match=r"column 'odd' \(\w.*\): its values cannot be read"):
        text_columns.texts_of(values, "odd")


def test_given_columns():
    assert find("a", "b", text="b") == ("b",)
    assert find("a", "b", text="b", text_pair="a") == ("b", "a")


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["title", "body"], {}, "cannot guess which column holds the text; name it with --text; columns: title, body"),
        (["title", "body"], {"paired": True}, "name it with --text and --text-pair"),
        (["title"], {"text": "titel"}, "--text: there is no column 'titel'; did you mean 'title'"),
        (["a", "b"], {"text_pair": "b"}, "name the first one with --text"),
        (["a", "b"], {"text": "a", "paired": True}, "the model reads pairs of texts; name both"),
        (["a", "b"], {"text": "a", "text_pair": "b", "paired": False}, "the model reads single texts; leave"),
    ],
)
def test_columns_that_cannot_be_found(names, options, message):
    with pytest.raises(UserError, match=message):
        find(*names, **options)


def test_usual_names_are_found_whatever_their_case():
    assert find("Title", "Review", "Body") == ("Review",)
    assert find("Hypothesis", "Premise") == ("Premise", "Hypothesis")


def test_values_that_are_no_texts():
    values = typed({"text": ["a", None, None]})
    with pytest.raises(UserError, match=r"column 'text': the value of row 2 is missing \(2 rows are like that\)"):
        text_columns.texts_of(values, "text")
    with pytest.raises(UserError, match="the value of row 1 is 5, expected a text"):
        text_columns.texts_of(typed({"n": [5]}), "n")
    words = typed({"tokens": [["a", "b"], []]})
    assert text_columns.texts_of(words, "tokens", words=True) == [["a", "b"], []]
    with pytest.raises(UserError, match="expected a text"):
        text_columns.texts_of(words, "tokens")
