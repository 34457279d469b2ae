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
