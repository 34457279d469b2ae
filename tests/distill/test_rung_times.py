"""What is remembered of the rungs of an interrupted command."""

import pytest

from harness.distill.rung_times import RungTime, RungTimes


def suite(epochs, methods=("finetune",)):
    return {"methods": list(methods), "training": {"epochs": epochs, "lr": 1e-4}}


def test_durations_of_interrupted_rungs_add_up(tmp_path, monkeypatch):
    clock = iter([0.0, 3.0, 100.0, 104.0])
    monkeypatch.setattr("harness.distill.rung_times.time.monotonic", lambda: next(clock))
    times = RungTimes(tmp_path / "rungs.json", 60)
    assert times.find("first", suite(10)) is None
    with pytest.raises(KeyboardInterrupt), times.measured("first", suite(10), RungTime(0.25)):
        raise KeyboardInterrupt

    again = RungTimes(tmp_path / "rungs.json", 60)
    rung = again.find("first", suite(5))
    assert rung == RungTime(0.25, 3.0)
    with again.measured("first", suite(5), rung):
        pass
    assert RungTimes(tmp_path / "rungs.json", 60).find("first", suite(10)) == RungTime(0.25, 7.0)


def test_another_suite_or_budget_has_no_length_yet(tmp_path):
    times = RungTimes(tmp_path / "rungs.json", 60)
    with times.measured("first", suite(10), RungTime(0.25)):
        pass
    assert times.find("first", suite(10, ["pkd"])) is None
    assert times.find("second", suite(10)) is None
    assert RungTimes(tmp_path / "rungs.json", 90).find("first", suite(10)) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"budget": 60}', '{"budget": 60, "rungs": 3}'])
def test_a_damaged_file_counts_as_empty(tmp_path, content):
    (tmp_path / "rungs.json").write_text(content)
    assert RungTimes(tmp_path / "rungs.json", 60).find("first", suite(10)) is None
