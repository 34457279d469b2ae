"""Validation of `Stage`."""

import math

import pytest

from harness.api.method import Needs, Stage, Step


@pytest.mark.parametrize(
    ("values", "words"),
    [
        *(
            ({"share": value}, [f"share is {value!r}", "a finite number above 0"])
            for value in (0, -1.0, math.nan, None, "2")
        ),
        *(
            ({"epochs": value}, [f"epochs is {value!r}", "a finite number above 0"])
            for value in (0, -0.5, math.inf, True)
        ),
        *(({"lr": value}, [f"lr is {value!r}", "a finite number above 0"]) for value in (0.0, -1e-4, math.nan)),
        *(({"steps": value}, [f"steps is {value!r}", "an integer above 0"]) for value in (0, -3, 2.5, math.nan)),
        ({"epochs": 1.0, "steps": 9}, ["epochs is 1.0 and steps is 9", "only one of them"]),
        ({"starts_from": "first"}, ["starts_from is 'first'", "allowed: 'last', 'best'"]),
    ],
)
def test_an_invalid_stage_is_an_error_that_names_stage_and_value(values, words):
    with pytest.raises(ValueError, match="stage 'warm'") as caught:
        Stage("warm", Needs(["logits"]), **values)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "a\n", "x" * 81, None, 3])
def test_an_invalid_stage_name_is_an_error(name):
    with pytest.raises(ValueError, match="invalid stage name") as caught:
        Stage(name, Needs())
    assert repr(name) in str(caught.value)


def test_valid_stages():
    assert Stage("a", Needs(), share=0.1, epochs=0.5, lr=1).epochs == 0.5
    assert Stage("stage-1.b", Needs(), steps=1).steps == 1


def test_a_step_knows_its_progress_and_has_a_scratch_of_its_own():
    steps = [Step(Stage("a", Needs()), index, 4, 0.0, 1.0, None, None) for index in range(4)]
    assert [step.progress for step in steps] == [0, 0.25, 0.5, 0.75]
    steps[0].scratch["seen"] = 1
    assert steps[1].scratch == {}
