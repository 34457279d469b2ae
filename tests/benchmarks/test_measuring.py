"""Repetitions, ratios and result files, with a fake clock."""

import json
import re

import pytest

from benchmarks.measuring import Measured, Result, Row, interleaved, ratios, result


class Clock:
    """A clock that only the test advances."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


def test_every_contestant_is_timed_once_per_repetition_after_a_warm_up(options):
    clock, order = Clock(), []

    def contestant(name, nanoseconds):
        def prepare():
            clock.now += 1_000_000  # not part of the call

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
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len(set(rounds)) > 1


def test_no_repetition_starts_after_the_limit_but_one_is_made(options):
    clock, said = Clock(), []

    def prepare():
        def call():
            clock.now += 2 * 10**9

        return call

    for limit, repetitions in ((0.5, 1), (7.0, 3), (100.0, 8)):
        times = interleaved({"a": prepare}, options(repetitions=8, max_seconds=limit), say=said.append, clock=clock)
        assert times == {"a": [2 * 10**9] * repetitions}
    assert said.count("stopped after 3 of 8 repetitions") == 1


def test_ratios_are_of_sums_within_a_repetition():
    times = {"a": [10, 20], "b": [30, 20], "c": [80, 10]}
    assert ratios(times, ["a", "b"], ["c"]) == [0.5, 4.0]
    assert ratios(times, ["a"], ["b", "b"]) == [10 / 60, 20 / 40]


def test_a_row_has_median_interval_and_target():
    row = Row(what="x", ratios=[1.0, 3.0, 2.0, 4.0, 5.0, 9.0, 7.0], target=("at least", 4.0))
    # The least and greatest of seven values enclose the median with probability 1 - 2 / 2^7.
    assert row.cells() == ["x", "4.000", "[1.000, 9.000]", "1.000 to 9.000", "at least 4", "yes"]
    assert row.model_copy(update={"target": ("at least", 4.1)}).met is False
    assert row.model_copy(update={"target": ("at most", 4.0)}).met is True
    assert row.model_copy(update={"target": ("at most", 3.9)}).met is False
    assert Row(what="x", ratios=[2.0] * 5).cells()[2:] == ["needs 6 repetitions", "2.000 to 2.000", "", ""]


def test_result_files_can_be_read_and_contain_provenance(options, tmp_path):
    def measure(options, say):
        say("now")
        return Measured("A claim.", [Row(what="a / b", ratios=[2.0, 4.0])], {"a": [2, 8], "b": [1, 2]}, {"note": 1.5})

    said = []
    measured = result("some", options(), measure, said.append)
    assert said == ["now"]
    written = measured.write(tmp_path / "new")
    assert [path.name for path in written] == ["some-2x12.json", "some-2x12.md"]
    text = written[0].read_text()
    assert Result.model_validate_json(text) == measured
    assert json.loads(text)["nanoseconds"] == {"a": [2, 8], "b": [1, 2]}
    table = written[1].read_text()
    assert re.search(r"^\| a / b +\| 3\.000 ", table, flags=re.M)
    hardware = measured.provenance.hardware
    for line in ("A claim.", hardware.name, "threads: 1", f"commit {measured.provenance.git_commit[:12]}", "note: 1.5"):
        assert line in table


def test_results_have_names_of_local_folders_and_no_paths(options, tmp_path):
    (tmp_path / "glue").mkdir()
    given = options(data=str(tmp_path / "glue"), model="org/name")
    measured = result("some", given, lambda options, say: Measured("", [Row(what="a / b", ratios=[1.0])], {}), print)
    assert (measured.options.data, measured.options.model, measured.options.tokenizer) == ("glue", "org/name", None)


def test_zero_repetitions_are_refused(options):
    with pytest.raises(ValueError, match="greater than 0"):
        options(repetitions=0)
