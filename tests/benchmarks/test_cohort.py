"""The benchmark `cohort`: separate runs against a cohort."""

from benchmarks import cohort
from benchmarks.workload import entries


def test_ratios_are_separate_runs_over_their_cohort(options):
    labels = list("abcdef")
    times = {f"4x312, {label} alone": [10, 20] for label in labels}
    times |= {f"4x312, cohort of {count}": [count + 1, 10] for count in (1, 2, 4, 6)}
    rows = cohort.rows(times, options(teacher="12x768", runs=6, length=128), "4x312", labels)
    assert [row.ratios for row in rows] == [[10 / 2, 2.0], [20 / 3, 4.0], [40 / 5, 8.0], [60 / 7, 12.0]]
    assert [row.target for row in rows] == [None, None, None, ("at least", 2.5)]
    assert {row.target for row in cohort.rows(times, options(), "4x312", labels)} == {None}


def test_six_methods_are_measured_alone_and_in_cohorts(options):
    measured = cohort.measure(options(), lambda line: None)
    labels = [entry.label for entry in entries()]
    assert len(set(labels)) == 6
    alone = [f"2x12, {label} alone" for label in labels]
    assert set(measured.times) == {*alone, *(f"2x12, cohort of {count}" for count in (1, 2, 4, 6))}
    assert [row.what for row in measured.rows] == [f"4x24 -> 2x12, M = {m}: separate / cohort" for m in (1, 2, 4, 6)]
    times = measured.times
    expected = [sum(times[name][i] for name in alone) / times["2x12, cohort of 6"][i] for i in range(1)]
    assert measured.rows[-1].ratios == expected
