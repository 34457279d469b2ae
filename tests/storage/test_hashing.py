import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.storage.hashing import differences, key

leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())
parts = st.dictionaries(st.text(min_size=1), st.one_of(leaves, st.lists(leaves), st.dictionaries(st.text(), leaves)))


@given(parts)
def test_a_key_does_not_depend_on_the_order_of_its_parts(value):
    shuffled = dict(reversed(value.items()))
    assert key(value) == key(shuffled)
    assert differences(value, shuffled) == []


def test_a_key_is_the_same_in_every_process():
    assert key({"seed": 1, "lr": 5e-5}) == "17e584a2c7e57f6e"


def test_every_change_changes_the_key_and_is_listed():
    old = {"training": {"lr": 5e-5, "epochs": 3}, "teachers": ["a"]}
    new = {"training": {"lr": 1e-4, "epochs": 3}, "teachers": ["b"], "code": 2}
    assert key(old) != key(new)
    assert differences(old, new) == [
        "code: absent -> 2",
        'teachers: ["a"] -> ["b"]',
        "training.lr: 5e-05 -> 0.0001",
    ]


@pytest.mark.parametrize(
    "value", [0, -5, 10**30, 1.0, 0.1, 1e22, -0.0, math.nan, math.inf, True, None, "é", [1, 2.0], {}]
)
def test_values_are_shown_as_json(value):
    expected = json.dumps(value, sort_keys=True)
    assert differences({}, {"part": {"leaf": value}}) == [f"part.leaf: absent -> {expected}"]


def test_numbers_of_different_types_differ():
    assert differences({"a": 1, "b": 1, "c": 0}, {"a": 1.0, "b": True, "c": 0}) == ["a: 1 -> 1.0", "b: 1 -> true"]
