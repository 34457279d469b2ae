"""The benchmark `floor`: a cohort against its parts."""

import pytest
import torch

from benchmarks import floor
from benchmarks.alone import Parts
from benchmarks.workload import Workload, entries, fixed_length_data


def test_the_ratio_is_the_cohort_over_the_sum_of_its_parts(options):
    times = {"x": [110, 90], "x: teacher": [50, 50], "x: student 1": [20, 30], "x: student 2": [30, 20], "xy": [1, 1]}
    row = floor.row(times, "x", options(teacher="12x768", runs=6, length=128))
    assert row.ratios == [1.1, 0.9]
    assert row.target == ("at most", 1.10)
    assert floor.row(times, "x", options()).target is None


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.label)
def test_the_parts_compute_what_the_cohort_computes(options, entry):
    workload = Workload(options(length=10), fixed_length_data(options(length=10)), dropout=0.0)
    together, alone = (workload.run(entry, "2x12", seed=1) for _ in range(2))
    before = {name: weight.clone() for name, weight in alone.student.named_parameters()}
    workload.train([together])
    Parts(workload, [alone]).train(alone)
    weights = dict(alone.student.named_parameters())
    assert any(not torch.equal(before[name], weight) for name, weight in weights.items())
    for name, weight in together.student.named_parameters():
        torch.testing.assert_close(weights[name], weight, rtol=1e-5, atol=1e-7)


def test_both_cohorts_of_every_student_are_measured(options):
    said = []
    measured = floor.measure(options(students=["2x12", "2x24"]), said.append)
    names = [f"{size}, 2 runs {what}" for size in ("2x12", "2x24") for what in ("on logits", "of several methods")]
    assert [row.what for row in measured.rows] == [f"{name}: together / alone" for name in names]
    assert set(measured.times) == {n + e for n in names for e in ("", ": teacher", ": student 1", ": student 2")}
    assert all(len(times) == 1 and min(times) > 0 for times in measured.times.values())
    assert said.count("repetition 1 of 1") == 4


def test_the_memory_of_a_cohort_is_measured_without_that_of_its_parts(options, parts_in_memory):
    floor.measure(options(), lambda line: None)
    alive, made = parts_in_memory
    assert (alive, len(made)) == ([0, 0], 2)


def test_both_sides_compute_in_bf16(options, monkeypatch):
    workload = Workload(options(precision="bf16"), fixed_length_data(options()), dropout=0.0)
    dtypes = []
    (entry, *_) = entries()
    monkeypatch.setattr(
        entry.method,
        "losses",
        lambda self, step, batch, student, teachers: (
            dtypes.append((student.logits.dtype, teachers[0].logits.dtype))
            or dict.fromkeys(("kd", "task"), student.logits.float().sum())
        ),
    )
    workload.train([workload.run(entry, "2x12", seed=1)])
    together = len(dtypes)
    run = workload.run(entry, "2x12", seed=1)
    Parts(workload, [run]).train(run)
    assert len(dtypes) == 2 * together > 0
    assert set(dtypes) == {(torch.bfloat16, torch.bfloat16)}
