"""The bootstrap over examples, from stored predictions to the intervals of a board."""

import json

import numpy as np
import pandas as pd
import pytest

from harness.analysis.aggregate import summarize
from harness.analysis.bootstrap import BLOCKS, RecordedScore, bootstrap_scores, resamples
from harness.analysis.inference import Sample
from harness.analysis.prediction_tables import TaskExamples
from harness.analysis.suite_level import interquartile_mean, iqm
from harness.analysis.summary import Unsampled
from harness.api.errors import UserError
from harness.reporting import report
from harness.storage import checksums
from tests.support.results_factory import SQUAD, SST2, answers, fill, plan, run_key, run_record


def rows(store):
    return {(row.label, row.student): row for row in summarize(store).students}


def test_every_resample_has_as_many_examples_as_the_set():
    drawn = resamples(70, 50, np.random.default_rng(0))
    assert (drawn.counts.sum(axis=1) == 70).all()
    assert drawn.sums(np.ones((70, 1))).tolist() == [[70.0]] * 50


def test_blocks_have_the_variance_of_single_examples():
    """The variance of a share of 0.9 of 10,000 is 0.09 / 10,000."""
    right = (np.random.default_rng(0).permutation(10_000) < 9_000).astype(float)[:, None]
    drawn = resamples(10_000, 2000, np.random.default_rng(1))
    assert drawn.counts.shape == (2000, BLOCKS)
    sums = drawn.sums(np.concatenate([right, np.ones_like(right)], axis=1))
    assert np.std(sums[:, 0] / sums[:, 1]) == pytest.approx(0.003, rel=0.08)


def test_draws_are_centred_on_the_score_and_equal_for_equal_rows(tmp_path):
    for key, score in (("a", 0.8), ("b", 0.8)):
        answers("sst2", "same", score).to_parquet(tmp_path / f"{key}.parquet")
    examples = TaskExamples(SST2)
    results = [RecordedScore(key, examples.read(tmp_path / f"{key}.parquet"), 0.8) for key in "ab"]
    bootstrapped = bootstrap_scores(SST2, "print", results)
    assert bootstrapped.examples == 100
    assert bootstrapped.draws["a"].mean() == pytest.approx(0.8, abs=0.005)
    assert bootstrapped.draws["a"].std() == pytest.approx(0.04, rel=0.1), "sqrt(0.8 x 0.2 / 100)"
    assert (bootstrapped.draws["a"] == bootstrapped.draws["b"]).all()
    alone = bootstrap_scores(SST2, "print", results[:1])
    assert (alone.draws["a"] == bootstrapped.draws["a"]).all(), "another row changes nothing"
    assert (bootstrap_scores(SST2, "other", results).draws["a"] != bootstrapped.draws["a"]).any()


def test_scores_are_averaged_over_splits(tmp_path):
    first, second = answers("sst2", "x", 0.8), answers("sst2", "y", 0.6).assign(split="mismatched")
    second["id"] = "m" + second["id"]
    path = tmp_path / "both.parquet"
    pd.concat([first, second]).to_parquet(path, index=False)
    bootstrapped = bootstrap_scores(SST2, "print", [RecordedScore("k", TaskExamples(SST2).read(path), 0.7)])
    assert bootstrapped.draws["k"].mean() == pytest.approx(0.7, abs=0.005)
    assert bootstrapped.draws["k"].std() == pytest.approx((0.8 * 0.2 + 0.6 * 0.4) ** 0.5 / 20, rel=0.1)


def test_a_board_has_intervals_over_seeds_and_examples(tmp_path):
    store = fill(tmp_path, answered=True)
    score = rows(store)["kd", "small"].cells["sst2"].score
    assert score.over == "seeds and examples"
    assert score.margin > 2, "all seeds score 75, but on 100 examples"
    teacher = summarize(store).teachers[0].cells["squad"].score
    assert teacher.over == "examples"
    assert (teacher.high - teacher.low) / 2 == pytest.approx(1.98 * 3.25, rel=0.1)
    assert teacher.high < 100
    assert teacher.margin == teacher.mean - teacher.low, "the longer side"
    assert "cover seeds only" not in report(tmp_path).markdown
    assert "88.0 ± 8." in report(tmp_path).markdown


def test_without_predictions_intervals_cover_seeds_only(tmp_path):
    store = fill(tmp_path, answered=True)
    path = store.run_folder(run_key("sst2", "kd", "big", 2)) / "predictions.parquet"
    path.unlink()
    by_row = rows(store)
    assert by_row["kd", "big"].cells["sst2"].score.over == "seeds"
    assert by_row["kd", "small"].cells["sst2"].score.over == "seeds and examples"
    text = (
        "the row kd on big on sst2 cover seeds only, not examples: predictions.parquet does not exist (sst2-kd-big-2)."
    )
    assert text in report(tmp_path).markdown
    seeds_only = json.loads((tmp_path / "leaderboard.json").read_text())["seeds_only"]
    assert seeds_only == {"sst2": "kd on big: predictions.parquet does not exist (sst2-kd-big-2)"}


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (SST2.model_copy(update={"score": "kappa"}), "the metric kappa cannot be computed on resamples"),
        (SST2.model_copy(update={"score": "f1"}), "do not reproduce the scores of the records"),
    ],
)
def test_unknown_metrics_are_reported(tmp_path, task, reason):
    fill(tmp_path, plan([task, SQUAD]), answered=True)
    assert reason in report(tmp_path).markdown


def test_unreadable_predictions_are_an_error(tmp_path):
    store = fill(tmp_path, answered=True)
    path = store.run_folder(run_key("sst2", "kd", "big", 2)) / "predictions.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"sst2-kd-big-2/predictions\.parquet: cannot be read .* run the suite again"):
        report(tmp_path)


def test_reports_are_bit_identical_in_any_order(tmp_path):
    fill(tmp_path / "a", answered=True)
    fill(tmp_path / "b", answered=True, backwards=True)
    texts = [[path.read_bytes() for path in report(tmp_path / name).files] for name in "aab"]
    assert texts[0] == texts[1] == texts[2]


def test_gap_closed_and_interquartile_mean_of_a_row(tmp_path):
    by_row = rows(fill(tmp_path, answered=True))
    kd, alone = by_row["kd", "big"], by_row["finetune", "big"]
    assert kd.gap.closed == pytest.approx(100 * (81.5 - 76.5) / (90 - 76.5))
    assert kd.gap.low < kd.gap.closed < kd.gap.high
    assert (kd.gap.teacher, kd.gap.without, alone.gap) == ("base", "finetune", None)
    relative = sorted([s / 92 for s in (85, 86, 87)] + [s / 88 for s in (76, 77, 78)])
    assert kd.iqm.mean == pytest.approx(100 * sum(relative[1:5]) / 4)
    assert kd.iqm.low < kd.iqm.mean < kd.iqm.high


def test_the_interquartile_mean_is_the_trimmed_mean_of_rliable():
    from scipy import stats

    for size in (1, 3, 4, 9, 24):
        values = np.random.default_rng(size).normal(size=(2, size))
        assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25, axis=1))


def test_a_teacher_that_scores_0_has_no_interquartile_mean():
    student, teacher = Sample((1, 2), np.array([3.0, 4.0])), Sample((0,), np.array([0.0]))
    assert iqm([student], [teacher]) is None


def over(store):
    """Row -> what its interval on sst2 covers."""
    return {key: row.cells["sst2"].score.over for key, row in rows(store).items()}


def test_a_run_that_does_not_reproduce_its_score_does_not_affect_others(tmp_path):
    before = rows(fill(tmp_path / "whole", answered=True))
    key = run_key("sst2", "finetune", "big", 1)
    store = fill(tmp_path / "r", answered=True, instead={key: run_record("sst2", "finetune", "big", 1, 0.99)})
    reason = f"predictions.parquet does not reproduce the score of record.json ({key})"
    assert summarize(store).unsampled == (Unsampled("sst2", reason, ("finetune on big",)),)
    assert [row for row, covered in over(store).items() if covered == "seeds"] == [("finetune", "big")]
    for row in (("kd", "big"), ("kd", "small")):
        assert rows(store)[row].cells["sst2"].score == before[row].cells["sst2"].score


def test_a_run_on_other_examples_does_not_affect_others(tmp_path):
    store = fill(tmp_path, answered=True)
    path = store.run_folder(store.plan().runs[0].key) / "predictions.parquet"  # the first that is read
    frame = pd.read_parquet(path)
    frame.assign(id="x" + frame["id"]).to_parquet(path, index=False)
    checksums.seal(path.parent)
    (unsampled,) = summarize(store).unsampled
    assert unsampled.reason == "predictions.parquet contains other examples than most (sst2-finetune-big-1)"
    assert [row for row, covered in over(store).items() if covered == "seeds"] == [("finetune", "big")]


def test_a_score_that_is_not_finite_is_not_reported_as_missing_predictions(tmp_path):
    key = run_key("sst2", "kd", "big", 1)
    store = fill(tmp_path, answered=True, instead={key: run_record("sst2", "kd", "big", 1, float("nan"))})
    assert summarize(store).unsampled == ()
    assert "predictions.parquet" not in report(tmp_path).markdown


def test_both_rows_that_share_a_run_are_named(tmp_path):
    store, planned = fill(tmp_path, answered=True), plan()
    key = run_key("sst2", "kd", "big", 2)
    twins = [run.model_copy(update={"label": "twin"}) for run in planned.runs if run.label == "kd"]
    store.save_plan(plan(runs=[*planned.runs, *twins], labels=[*planned.labels, "twin"]))
    (store.run_folder(key) / "predictions.parquet").unlink()
    (unsampled,) = summarize(store).unsampled
    assert unsampled == Unsampled("sst2", f"predictions.parquet does not exist ({key})", ("kd on big", "twin on big"))
