"""Validation of `Stage` and `Needs`."""

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


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"student": "logits"}, "student is the string 'logits'; expected a list of names, such as ['logits']"),
        ({"teachers": ["logits"]}, "teachers[0] is the string 'logits'; expected a list of names"),
        ({"teachers": "logits"}, "teachers is 'logits'; expected a list of names for each teacher"),
        ({"student": ["logit"]}, "unknown output 'logit'; did you mean 'logits'?"),
        ({"teachers": [["logits"], ["hiden[1]"]]}, "unknown output 'hiden[1]'; did you mean 'hidden'?"),
        ({"student": ["hidden"]}, "'hidden' names no layer; expected hidden[1], hidden[2]"),
        ({"student": ["hidden[-1]"]}, "'hidden[-1]' names no layer; expected hidden[1]"),
        ({"student": ["logits[1]"]}, "unknown output 'logits[1]'"),
        ({"student": [3]}, "unknown output 3"),
    ],
)
def test_needs_name_outputs_that_a_model_can_have(values, words):
    with pytest.raises(ValueError, match="Needs: ") as caught:
        Needs(**values)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"needs": ["logits"]}, "stage 'a': needs is a list; expected Needs(...)"),
        *(
            ({key: "task"}, f"stage 'a': {key} is the string 'task'; expected a list of names, such as ['task']")
            for key in ("frozen", "batch_dependent", "module_terms")
        ),
    ],
)
def test_the_containers_of_a_stage_are_checked(values, words):
    with pytest.raises(ValueError, match="stage 'a'") as caught:
        Stage("a", **{"needs": Needs(), **values})
    assert words in str(caught.value)


def test_collections_of_names_become_sets():
    stage = Stage("a", Needs(), frozen=["head"], batch_dependent={"kd"}, module_terms=("policy",))
    assert (stage.frozen, stage.batch_dependent, stage.module_terms) == ({"head"}, {"kd"}, {"policy"})
    assert hash(stage) == hash(Stage("a", Needs(), frozen={"head"}, batch_dependent=["kd"], module_terms={"policy"}))


def test_valid_stages():
    assert Stage("a", Needs(), share=0.1, epochs=0.5, lr=1).epochs == 0.5
    assert Stage("stage-1.b", Needs(), steps=1).steps == 1


def test_a_step_knows_its_progress_and_has_a_scratch_of_its_own():
    steps = [Step(Stage("a", Needs()), index, 4, 0.0, 1.0, None, None) for index in range(4)]
    assert [step.progress for step in steps] == [0, 0.25, 0.5, 0.75]
    steps[0].scratch["seen"] = 1
    assert steps[1].scratch == {}
