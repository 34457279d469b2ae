"""The best student of a task: by mean score within limits, and the run that is taken of its seeds."""

import math

import pytest

from harness.analysis.aggregate import summarize
from harness.analysis.best_students import Limits, best_of_each_student, choose, held_out_score, task_named, teacher_of
from harness.api.errors import UserError
from harness.storage.records import EpochScore, SelectionRecord
from tests.support.latency_factory import SETTINGS, latency_record
from tests.support.results_factory import CPU, GPU, SQUAD, SST2, fill, plan, run_key, run_record

TIMES = {"base": 8_000_000, "big": 6_000_000, "small": 2_000_000, "small (second copy)": 2_000_000}


def summary(folder, *latencies, planned=None, **options):
    store = fill(folder, planned or plan(latency=SETTINGS if latencies else None), **options)
    for record in latencies:
        store.save_latency(record)
    return summarize(store)


def chosen(folder, *latencies, **limits):
    choice = choose(summary(folder, *latencies), SST2, Limits(**limits))
    return choice.best.name


def held_out(score, on="train"):
    epochs = [EpochScore(step=10, epoch=1, score=0.99), EpochScore(step=20, epoch=2, score=score)]
    return SelectionRecord(on=on, examples=50, fingerprint="held", epochs=epochs, step=20)


def with_selection(scores, on="train"):
    """Records of the row kd on big whose seeds have these scores on held-out examples."""
    keys = {run_key("sst2", "kd", "big", seed): score for seed, score in scores.items()}
    return {
        key: run_record("sst2", "kd", "big", seed, 0.8 + seed / 100, selection=held_out(score, on))
        for (key, score), seed in zip(keys.items(), scores, strict=True)
    }


def test_the_row_with_the_best_mean_score_wins(tmp_path):
    choice = choose(summary(tmp_path), SST2, Limits())
    assert choice.best.name == "kd on big"
    assert [row.name for row in choice.considered] == [
        "kd on big",
        "finetune on big",
        "kd on small",
        "finetune on small",
    ]
    assert choice.best.score.mean == pytest.approx(86)
    assert choice.excluded == 0


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"label": "finetune"}, "finetune on big"),
        ({"student": "small"}, "kd on small"),
        ({"label": "finetune", "student": "small"}, "finetune on small"),
        ({"parameters": 49_999_999}, "kd on small"),
        ({"parameters": 50_000_000}, "kd on big"),
    ],
)
def test_limits_on_names_and_size(tmp_path, limits, expected):
    assert chosen(tmp_path, **limits) == expected


def test_latency_must_be_within_the_limit_on_every_machine(tmp_path):
    slow = {name: 2 * time for name, time in TIMES.items()}
    one, other = latency_record("a", times=TIMES, hardware=CPU), latency_record("b", times=slow, hardware=GPU)
    assert chosen(tmp_path / "one", one, seconds=0.006) == "kd on big"
    assert chosen(tmp_path / "both", one, other, seconds=0.006) == "kd on small"


def test_the_latency_of_the_requested_backend_counts_if_it_was_measured(tmp_path):
    settings = SETTINGS.model_copy(update={"backends": ["eager", "onnx"]})
    record = latency_record(times=TIMES, settings=settings)
    faster = [
        t.model_copy(update={"nanoseconds": [1_000_000] * 10}) if t.backend == "onnx" else t for t in record.timings
    ]
    store = fill(tmp_path, plan(latency=settings))
    store.save_latency(record.model_copy(update={"timings": faster}))
    numbers = summarize(store)
    assert choose(numbers, SST2, Limits(seconds=0.001, backends=("onnx-int8", "onnx"))).best.name == "kd on big"
    with pytest.raises(UserError, match="the fastest is small with 2"):
        choose(numbers, SST2, Limits(seconds=0.001, backends=("onnx-int8",)))


def test_a_latency_limit_without_a_measurement_names_the_command(tmp_path):
    with pytest.raises(UserError, match=r"was not measured on any machine; run `harness latency demo.yaml`"):
        chosen(tmp_path, seconds=0.005)


def test_no_row_within_the_limits(tmp_path):
    with pytest.raises(UserError, match=r"the smallest is small with 10,000,000 parameters \(allowed: 1,000\)"):
        chosen(tmp_path, parameters=1000)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"label": "kdd"}, "--label: .* no label 'kdd'; did you mean 'kd'"),
        ({"student": "smal"}, "--student: .* no student 'smal'; did you mean 'small'"),
        ({"seed": 7}, "--seed: the suite has no seed 7; its seeds are 1, 2, 3"),
    ],
)
def test_unknown_names(tmp_path, limits, message):
    with pytest.raises(UserError, match=message):
        chosen(tmp_path, **limits)


def test_rows_with_missing_runs_are_not_candidates(tmp_path):
    left_out = [run_key("sst2", "kd", "big", 2)]
    assert choose(summary(tmp_path, leave_out=left_out), SST2, Limits()).best.name == "finetune on big"
    with pytest.raises(UserError, match="no row of kd big has completed runs of all seeds on sst2; `harness run demo"):
        choose(summary(tmp_path, leave_out=left_out), SST2, Limits(label="kd", student="big"))


def test_of_equal_rows_the_smallest_wins(tmp_path):
    equal = {
        run_key("sst2", "kd", "small", seed): run_record("sst2", "kd", "small", seed, score)
        for seed, score in ((1, 0.85), (2, 0.86), (3, 0.87))
    }
    assert choose(summary(tmp_path, instead=equal), SST2, Limits()).best.name == "kd on small"


def test_where_less_is_better_the_lowest_score_wins(tmp_path):
    task = SST2.model_copy(update={"higher_is_better": False})
    numbers = summary(tmp_path, planned=plan([task]))
    assert choose(numbers, task, Limits()).best.name == "finetune on small"


def test_without_held_out_data_the_first_seed_is_taken(tmp_path):
    choice = choose(summary(tmp_path), SST2, Limits())
    assert choice.run.seed == 1  # seed 3 has the best validation score
    assert "no training data are held out" in choice.run_reason


def test_the_seed_with_the_best_held_out_score_is_taken(tmp_path):
    records = with_selection({1: 0.5, 2: 0.7, 3: 0.6})
    choice = choose(summary(tmp_path, instead=records), SST2, Limits(label="kd", student="big"))
    assert choice.run.seed == 2
    assert choice.run_reason == "it scores best on the 50 held-out training examples (0.7000)"


def test_an_undefined_held_out_score_is_the_worst(tmp_path):
    records = with_selection({1: math.nan, 2: 0.7, 3: 0.6})
    assert held_out_score([*records.values()]) is None
    assert held_out_score([*records.values()][1:]) == pytest.approx(0.65)
    assert held_out_score([]) is None
    choice = choose(summary(tmp_path, instead=records), SST2, Limits(label="kd", student="big"))
    assert choice.run.seed == 2


def test_selection_on_validation_does_not_choose_the_seed(tmp_path):
    records = with_selection({1: 0.5, 2: 0.7, 3: 0.6}, on="validation")
    choice = choose(summary(tmp_path, instead=records), SST2, Limits(label="kd", student="big"))
    assert choice.run.seed == 1


def test_a_seed_can_be_chosen(tmp_path):
    choice = choose(summary(tmp_path), SST2, Limits(seed=3))
    assert (choice.run.seed, choice.run_reason) == (3, "you chose this seed")


def test_the_task_must_be_named_if_there_are_several(tmp_path):
    numbers = summary(tmp_path)
    assert task_named(numbers, "squad") == SQUAD
    with pytest.raises(UserError, match=r"2 tasks, .* --task with one of sst2, squad"):
        task_named(numbers, None)
    with pytest.raises(UserError, match="no task 'sst'; did you mean 'sst2'"):
        task_named(numbers, "sst")


def test_a_diagnostic_task_need_not_be_named(tmp_path):
    diagnostic = SQUAD.model_copy(update={"diagnostic": True})
    assert task_named(summary(tmp_path, planned=plan([SST2, diagnostic])), None) == SST2


def test_the_best_row_of_each_student(tmp_path):
    best = best_of_each_student(summary(tmp_path), SST2)
    assert [(choice.best.name, choice.run.seed, choice.excluded) for choice in best] == [
        ("kd on big", 1, 2),
        ("kd on small", 1, 2),
    ]


def test_the_teacher_of_a_row_without_one_is_the_first_of_the_suite(tmp_path):
    numbers = summary(tmp_path)
    alone = choose(numbers, SST2, Limits(label="finetune")).best
    assert teacher_of(numbers, alone, SST2).label == "base"
