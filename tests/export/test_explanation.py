"""Why a model was selected, and what it costs against its teacher."""

from dataclasses import replace

import pytest

from harness.analysis import score_format
from harness.analysis.aggregate import summarize
from harness.analysis.best_students import Limits, choose
from harness.export import explanation
from harness.storage.plan_file import DataReport
from harness.storage.store import Store
from tests.support.latency_factory import SETTINGS, latency_record
from tests.support.results_factory import SST2, fill, plan, run_key, run_record


def told(folder, *latencies, answered=False, **limits):
    store = fill(folder, plan(latency=SETTINGS if latencies else None), answered=answered)
    for record in latencies:
        store.save_latency(record)
    summary = summarize(store)
    choice = choose(summary, SST2, Limits(**limits))
    return (
        list(explanation.why(summary, choice, Limits(**limits))),
        list(explanation.against_teacher(summary, choice.best, SST2)),
    )


def test_the_reasons(tmp_path):
    why, _ = told(tmp_path, parameters=20_000_000)
    assert (
        why[0]
        == "kd on small has the highest mean accuracy of 2 rows with at most 20,000,000 parameters: 75.0 [75.0, 75.0]."
    )
    assert why[1].startswith("The next is finetune on small with 72.0 [")
    assert why[2] == "2 other rows with complete scores did not qualify."
    assert why[3].startswith("Of its 3 seeds, this is seed 1: the first one: no training data are held out")


def test_a_difference_that_may_be_chance_is_told(tmp_path):
    """With the interval of the board."""
    why, _ = told(tmp_path, answered=True)
    differences = summarize(Store(tmp_path)).differences
    known = differences.of(["sst2"], ("student", "kd", "big"), ("student", "finetune", "big"))
    assert not known.clear
    assert why[1].endswith(f"; the difference, {score_format.difference(known)}, may be chance.")


def test_a_difference_without_an_interval_is_told_with_the_reason(tmp_path):
    def of(store):
        summary = summarize(store)
        choice = choose(summary, SST2, Limits(student="big"))
        return list(explanation.why(summary, choice, Limits(student="big")))[1]

    store = fill(tmp_path / "several", answered=True)
    (store.run_folder(run_key("sst2", "kd", "big", 2)) / "predictions.parquet").unlink()
    unknown = "; whether the difference is chance is not known: "
    constant = {
        run_key("sst2", "kd", "big", seed): run_record("sst2", "kd", "big", seed, score)
        for seed, score in enumerate((0.81, 0.83, 0.85), 1)
    }
    same = fill(tmp_path / "same", plan([SST2], labels=["finetune", "kd"]), instead=constant)
    assert of(same).endswith(f"{unknown}the difference is the same with every seed.")
    assert of(store).endswith(f"{unknown}usable predictions are missing.")
    assert of(fill(tmp_path / "one", plan(seeds=1))).endswith(f"{unknown}one seed and no usable predictions.")


def test_a_model_that_learned_nothing_is_marked(tmp_path):
    numbers = summarize(fill(tmp_path, plan(), answered=True))
    constant = numbers.constant.cells["sst2"].score.mean
    assert constant == 50
    choice = choose(numbers, SST2, Limits(label="finetune", student="small"))
    assert not any("WARNING" in line for line in explanation.against_teacher(numbers, choice.best, SST2))
    worse = replace(choice.best, score=replace(choice.best.score, mean=50.04))
    assert next(explanation.against_teacher(numbers, worse, SST2)) == (
        "WARNING: it is no better than a constant answer (50.0), which ignores the texts."
    )


@pytest.mark.parametrize(("repeated", "told"), [(1, False), (2, True)])
def test_training_texts_among_the_scored_ones_are_a_warning(tmp_path, repeated, told):
    task = SST2.model_copy(update={"data": DataReport(examples={"validation": 100}, overlap={"validation": repeated})})
    numbers = summarize(fill(tmp_path, plan([task])))
    best = choose(numbers, task, Limits()).best
    warning = (
        "WARNING: the texts of 2 of 100 validation examples (2.0 %) are also training texts, so scores are likely to be"
        " too high."
    )
    assert (warning in explanation.against_teacher(numbers, best, task)) == told


def test_the_costs(tmp_path):
    _, costs = told(tmp_path, latency_record(), student="small", label="kd")
    assert costs == [
        "Against the teacher base (92.0): 17.0 points worse, 81.5 % of its score.",
        "4.0 times [4.0, 4.0] as fast as base: 2.00 ms (eager, batch 1 of 32 tokens, on cpu, Test CPU, 2 cores,"
        " 2 threads).",
        "10.0 M parameters, 10.0 times fewer than the teacher's 100.0 M.",
    ]


def test_the_limits_in_words():
    assert explanation.within(Limits()) == ""
    assert explanation.within(Limits(label="kd", student="small", seconds=0.005, parameters=5)) == (
        " of the method kd on the student small with at most 5 parameters and at most 5 ms"
    )
