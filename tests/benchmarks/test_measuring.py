"""Repetitions, ratios and files, by a clock of the test's own."""

import json
import re

import pytest

from benchmarks.measuring import Measured, Result, Row, interleaved, ratios, result


class Clock:
    """Moves only when it is told to."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


def test_every_contestant_is_timed_once_a_repetition_after_a_round_that_does_not_count(options):
    clock, order = Clock(), []

    def contestant(name, nanoseconds):
        def prepare():
            clock.now += 1_000_000  # is not part of the call

            def call():
                order.append(name)
                clock.now += nanoseconds * (100 if order.count(name) == 1 else 1)  # slow before it is warm

            return call

        return prepare

    contestants = {name: contestant(name, time) for name, time in (("a", 10), ("b", 20), ("c", 30))}
    times = interleaved(contestants, options(repetitions=8), clock=clock)
    assert times == {"a": [10] * 8, "b": [20] * 8, "c": [30] * 8}
    rounds = [tuple(order[first : first + 3]) for first in range(0, len(order), 3)]
    assert len(rounds) == 9
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert len(set(rounds)) > 1


def test_ratios_are_of_sums_within_a_repetition():
    times = {"a": [10, 20], "b": [30, 20], "c": [80, 10]}
    assert ratios(times, ["a", "b"], ["c"]) == [0.5, 4.0]
    assert ratios(times, ["a"], ["b", "b"]) == [10 / 60, 20 / 40]


def test_a_row_tells_its_median_its_interval_and_whether_it_is_as_expected():
    row = Row(what="x", ratios=[1.0, 3.0, 2.0, 4.0, 5.0, 9.0, 7.0], target=("at least", 4.0))
    # Of seven values the least and the greatest enclose the median but for 2 / 2^7.
    assert row.cells() == ["x", "4.000", "[1.000, 9.000]", "1.000 to 9.000", "at least 4", "yes"]
    assert row.model_copy(update={"target": ("at least", 4.1)}).met is False
    assert row.model_copy(update={"target": ("at most", 4.0)}).met is True
    assert row.model_copy(update={"target": ("at most", 3.9)}).met is False
    assert Row(what="x", ratios=[2.0] * 5).cells()[2:] == ["needs 6 repetitions", "2.000 to 2.000", "", ""]


def test_what_is_written_can_be_read_and_says_where_it_is_from(options, tmp_path):
    def measure(given, say):
        say("now")
        return Measured("A claim.", [Row(what="a / b", ratios=[2.0, 4.0])], {"a": [2, 8], "b": [1, 2]}, {"note": 1.5})

    said = []
    found = result("some", options(), measure, said.append)
    assert said == ["now"]
    written = found.write(tmp_path / "new")
    assert [path.name for path in written] == ["some-2x12.json", "some-2x12.md"]
    text = written[0].read_text()
    assert Result.model_validate_json(text) == found
    assert json.loads(text)["nanoseconds"] == {"a": [2, 8], "b": [1, 2]}
    table = written[1].read_text()
    assert re.search(r"^\| a / b +\| 3\.000 ", table, flags=re.M)
    hardware = found.provenance.hardware
    for told in ("A claim.", hardware.name, "threads: 1", f"commit {found.provenance.git_commit[:12]}", "note: 1.5"):
        assert told in table


def test_no_repetition_is_no_measurement(options):
    with pytest.raises(ValueError, match="greater than 0"):
        options(repetitions=0)
