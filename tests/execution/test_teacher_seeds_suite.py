"""One teacher per seed in a suite, from the plan to the leaderboard."""

import re

import pandas as pd
import pytest
import torch

from harness.analysis.aggregate import summarize
from harness.reporting import report
from tests.support.run_watcher import Watcher
from tests.support.student_weights import student_weights

SEEDS = "teachers.base.seeds=[4, 9]"
ROWS = "methods=[finetune, logit_kd]"
OTHER = "teachers.other={architecture: {layers: 4, hidden: 16, heads: 2, ffn: 32}, epochs: 1, lr: 0.001}"


def trained(small, label):
    """Seed -> record, predictions and weights."""
    store = small.store()
    return {
        record.seed: (
            record,
            pd.read_parquet(store.run_folder(record.key) / "predictions.parquet"),
            student_weights(store, record.key),
        )
        for record in store.records()
        if record.label == label
    }


def test_each_run_is_bit_identical_to_that_of_a_suite_with_its_teacher_alone(small):
    """All weights are trained again, with another results folder and another cache."""
    watcher = Watcher()
    assert not small.run(SEEDS, ROWS, observers=(watcher,)).failed
    assert watcher.started_seeds[:2] == [("base", 4), ("base", 9)]
    teachers = {teacher.seed: teacher for teacher in small.store().teachers()}
    assert {teacher.name for teacher in teachers.values()} == {"base"}
    assert teachers.keys() == {4, 9}
    several = trained(small, "logit_kd")
    for place, seed in enumerate((4, 9), start=1):
        record = several[place][0]
        assert (record.teachers, record.teacher_seeds) == (["base"], [seed])
        assert record.parts["teachers"] == [teachers[seed].key]
        for name in ("results", "cache"):
            (small.folder / name).rename(small.folder / f"{name} before {seed}")
        assert not small.run(f"teachers.base.seed={seed}", ROWS).failed
        (teacher,) = small.store().teachers()
        assert (teacher.key, teacher.score) == (teachers[seed].key, teachers[seed].score)
        alone = trained(small, "logit_kd")
        (record, predictions, weights), (other, expected, bits) = several[place], alone[place]
        assert (record.key, record.score) == (other.key, other.score)
        pd.testing.assert_frame_equal(predictions, expected, check_exact=True)
        assert all(torch.equal(weights[name], tensor) for name, tensor in bits.items())
        assert several[3 - place][0].key != alone[3 - place][0].key, "the other seed learned from another teacher"


def test_more_seeds_leave_existing_results_unchanged(small):
    small.run("teachers.base.seeds=[4]", "seeds=[1]", ROWS)
    watcher = Watcher()
    small.run(SEEDS, ROWS, observers=(watcher,))
    assert watcher.started_seeds == [("base", 9), ("finetune", 2), ("logit_kd", 2)]


def test_one_order_of_the_data_and_teachers_of_two_seeds(small):
    small.run(SEEDS, "methods=[logit_kd]", "training.data_seed=1")
    together = {seed: results[2] for seed, results in trained(small, "logit_kd").items()}
    for name in ("results", "cache"):
        (small.folder / name).rename(small.folder / f"{name} before")
    small.run("teachers.base.seed=9", "methods=[logit_kd]", "training.data_seed=1")
    alone = {seed: results[2] for seed, results in trained(small, "logit_kd").items()}
    assert all(torch.equal(together[2][name], tensor) for name, tensor in alone[2].items())
    assert not all(torch.equal(together[1][name], tensor) for name, tensor in alone[1].items())


def test_groups_are_trained_seed_by_seed(small):
    watcher = Watcher()
    assert not small.run(SEEDS, OTHER, "methods=[mt_bert]", observers=(watcher,)).failed
    assert watcher.started_seeds == [
        ("base", 4),
        ("base", 9),
        ("other", 1),
        ("base (mt_bert)", 4),
        ("base (mt_bert)", 9),
        ("mt_bert", 1),
        ("mt_bert", 2),
    ]
    several = trained(small, "mt_bert")
    for name in ("results", "cache"):
        (small.folder / name).rename(small.folder / f"{name} before")
    small.run("teachers.base.seed=9", OTHER, "methods=[mt_bert]")
    record, _, weights = trained(small, "mt_bert")[2]
    assert several[2][0].key == record.key
    assert all(torch.equal(several[2][2][name], tensor) for name, tensor in weights.items())
    board = report(small.store().folder).markdown
    assert "base (mt_bert)" in board


def test_the_board_has_one_row_of_teachers_with_their_spread(small):
    small.run(SEEDS, "methods=[finetune, logit_kd]")
    summary = summarize(small.store())
    (row,) = summary.teachers
    score = row.cells["order"].score
    scores = {teacher.seed: 100 * teacher.score for teacher in small.store().teachers()}
    assert (row.runs, row.completed, score.n) == (2, 2, 2)
    assert row.cells["order"].scores == pytest.approx({1: scores[4], 2: scores[9]})
    assert score.mean == pytest.approx(sum(scores.values()) / 2)
    assert score.low < score.mean < score.high
    board = report(small.store().folder).markdown
    assert "95 % interval over seeds, teachers and examples" in board
    assert "Seeds of teacher base: 4, 9" in board
    assert "given this teacher" not in board


def test_floors_hold_for_each_seed(small):
    settings = (SEEDS, "methods=[finetune]", "teachers.base.epochs=4")
    small.run(*settings)
    scores = {teacher.seed: teacher.score for teacher in small.store().teachers()}
    worse = min(scores, key=scores.get)
    assert scores[4] != scores[9]
    between = sum(scores.values()) / 2
    (failure,) = small.run(*settings, f"teachers.base.floor={{order: {between}}}").failures
    message = rf"teacher base \(seed {worse}\) on order failed: .* below .*teachers\.base\.floor\.order"
    assert re.match(message, failure.cause)


def test_rows_are_tuned_with_the_first_teacher(small):
    small.run(SEEDS, "methods=[logit_kd]", "tuning={trials: 2}")
    results = trained(small, "logit_kd")
    (first, *_), (second, *_) = results[1], results[2]
    assert first.tuning == second.tuning
    teachers = {teacher.seed: teacher.key for teacher in small.store().teachers()}
    study = small.store().tuning(first.tuning.study)
    assert study.parts["teachers"] == [teachers[4]]
    assert second.parts["teachers"] == [teachers[9]]
    assert second.parts["tuning"]["models"]["teachers"] == [teachers[4]]
