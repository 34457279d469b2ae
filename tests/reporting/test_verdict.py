"""The verdict of a board: the best row of each student, its lead and how certain that is."""

import json
from itertools import product

from harness.analysis.aggregate import summarize
from harness.reporting import captions, report
from harness.reporting.board import build
from tests.support.results_factory import SQUAD, SST2, fill, plan, run_key, run_record


def verdict(folder, planned=None, **changes):
    return build(summarize(fill(folder, planned, **changes))).verdict


def test_a_sentence_for_each_student_compares_with_the_row_without_a_teacher(tmp_path):
    big, small = verdict(tmp_path, answered=True)
    assert big.startswith("Best of big: kd 81.5 ± 3.7, +5.0 [+")
    assert "] against finetune (p = 0.0" in big
    assert small.startswith("Best of small: kd 74.5 ± ")


def test_one_seed_is_not_tested(tmp_path):
    assert verdict(tmp_path, plan(seeds=1))[0] == "Best of big: kd 80.5, +5.5 against finetune (not tested: one seed)."


def test_a_difference_that_is_the_same_with_every_seed_is_not_tested(tmp_path):
    scores = {"finetune": [0.8, 0.82, 0.84], "kd": [0.8001, 0.8201, 0.8401]}
    records = {
        run_key("sst2", label, "big", seed): run_record("sst2", label, "big", seed, score)
        for label, by_seed in scores.items()
        for seed, score in enumerate(by_seed, start=1)
    }
    summary = summarize(fill(tmp_path, plan([SST2]), instead=records))
    (kd, finetune) = (row for row in summary.students if row.student == "big")
    assert [(row.rank, row.top) for row in (kd, finetune)] == [(1, True)] * 2
    assert "0.0 against finetune (not tested: the difference is the same with every seed)" in build(summary).verdict[0]
    assert "; finetune and kd on big: not tested, since the difference is the same" in captions.group(summary)


def test_missing_predictions_do_not_make_a_row_significantly_better(tmp_path):
    store = fill(tmp_path, plan([SST2]), answered=True)
    assert "not significant" in build(summarize(store)).verdict[0]
    (store.run_folder(run_key("sst2", "kd", "big", 2)) / "predictions.parquet").unlink()
    summary = summarize(store)
    board = build(summary)
    untested = "+4.0 against finetune (not tested: kd without usable predictions)."
    assert board.verdict[0] == f"Best of big: kd 86.0 ± 2.5, {untested}"
    assert "(p = 0." in board.verdict[1]
    assert [row.top for row in summary.students if row.student == "big"] == [True, True]
    legend = captions.group(summary)
    assert "(paired over seeds and examples, given this teacher; all" in legend
    assert legend.endswith("; kd on big: not tested against any row, for want of usable predictions")
    (suite,) = [table for table in board.tables if table.title == "Over the whole suite"]
    assert suite.lines[1].cells[-2:] == ("-4.0", "not tested")
    report(tmp_path)
    big, small = json.loads((tmp_path / "leaderboard.json").read_text())["comparisons"]
    assert [big[name] for name in ("low", "over", "p", "p_holm", "significant")] == [None] * 5
    assert (small["over"], small["significant"]) == ("seeds and examples", False)


def test_the_legend_says_what_the_tests_cover(tmp_path):
    store = fill(tmp_path, plan([SST2]), answered=True)
    for label, seed in product(("kd", "finetune"), (1, 2, 3)):
        (store.run_folder(run_key("sst2", label, "big", seed)) / "predictions.parquet").unlink()
    assert "(paired over seeds and examples, given this teacher; on big over seeds only; all" in captions.group(
        summarize(store)
    )
    unanswered = summarize(fill(tmp_path / "unanswered", plan([SST2])))
    assert "(paired over seeds, given this teacher; all pairs" in captions.group(unanswered)


def test_a_difference_may_be_insignificant(tmp_path):
    assert "not significant)" in verdict(tmp_path, plan([SST2], seeds=2))[0]


def test_no_complete_row_has_no_best(tmp_path):
    keys = [run_key("squad", label, student, 1) for label in ("kd", "finetune") for student in ("big", "small")]
    assert verdict(tmp_path, leave_out=keys) == ("No row is complete yet: 20 of 24 runs have a result.",)


def test_tasks_in_both_directions_have_no_average(tmp_path):
    (sentence,) = verdict(tmp_path, plan([SST2, SQUAD.model_copy(update={"higher_is_better": False})]))
    assert sentence == "No method is best on average: lower is better on squad, higher on the others."
