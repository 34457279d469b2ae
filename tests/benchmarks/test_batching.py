"""The benchmark `batching`: ratios, padding, equal losses of random and grouped batches."""

import pytest

from benchmarks import batching
from benchmarks.brewer import CHECK
from benchmarks.workload import Workload, sst2_data


@pytest.fixture(autouse=True)
def many_groups(monkeypatch):
    monkeypatch.setattr("harness.training.batch_stream.GROUP_COST", 1)


def test_all_modes_are_measured(options, glue):
    measured = batching.measure(options(data=glue), lambda line: None)
    assert [row.what for row in measured.rows] == ["2x12: random / grouped", "2x12: random / bucketed"]
    assert set(measured.times) == {"2x12, random", "2x12, grouped", "2x12, bucketed"}
    assert 0 <= measured.notes["padding, grouped"] < measured.notes["padding, random"] < 1


def test_different_losses_are_detected(options, glue):
    sizes = options(data=glue)
    random = Workload(sizes, sst2_data(sizes), **CHECK)
    batching.check(
        {"random": random, "grouped": Workload(sizes, sst2_data(sizes), **{**CHECK, "batching": "grouped"})}, "2x12"
    )
    bucketed = Workload(sizes, sst2_data(sizes), **{**CHECK, "batching": "bucketed"})
    with pytest.raises(AssertionError, match="in bucketed"):
        batching.check({"random": random, "bucketed": bucketed}, "2x12")
