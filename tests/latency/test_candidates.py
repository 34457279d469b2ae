"""The model that the A/A control copies."""

import pytest

from harness.latency.candidates import Candidate, Candidates


def model(name, role):
    return Candidate(name, role, "made for the test", {"name": name}, lambda: None)


@pytest.mark.parametrize(
    ("models", "copied"),
    [
        ([("base", "teacher"), ("second", "teacher"), ("4x312", "student"), ("6x768", "student")], "4x312"),
        ([("a", "model"), ("b", "model"), ("c", "model")], "b"),
        ([("a", "model")], "a"),
    ],
)
def test_the_control_is_a_second_copy_of_the_first_student(models, copied):
    compared = Candidates([model(*row) for row in models]).with_control()
    assert [candidate.name for candidate in compared] == [*(name for name, _ in models), f"{copied} (second copy)"]
    assert (compared[-1].role, compared[-1].of) == ("control", copied)
