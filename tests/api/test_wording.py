"""Numbers with nouns in messages, and the first line of errors."""

import pytest

from harness.api.errors import first_line
from harness.api.model_outputs import ModelShape
from harness.api.wording import counted


@pytest.mark.parametrize(
    ("number", "noun", "expected"),
    [
        (1, "seed", "1 seed"),
        (0, "seed", "0 seeds"),
        (1000000, "step", "1000000 steps"),
        (1, "forward pass", "1 forward pass"),
        (2, "forward pass", "2 forward passes"),
        (1.0, "epoch", "1 epoch"),
        (0.5, "epoch", "0.5 epochs"),
    ],
)
def test_a_noun_has_the_number_that_its_count_needs(number, noun, expected):
    assert counted(number, noun) == expected


def test_a_model_of_one_layer_and_one_head_is_described_in_the_singular():
    assert str(ModelShape("tiny", 1, 16, 1, 32)) == "tiny (1 layer, hidden 16, 1 head, FFN 32)"


@pytest.mark.parametrize(
    ("message", "expected"),
    [("out of range\nCompile with ...", "out of range"), ("\nlate", "late"), ("", "ValueError")],
)
def test_the_first_line_of_an_error(message, expected):
    assert first_line(ValueError(message)) == expected
