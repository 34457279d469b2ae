"""Tests of the study section: main effects and the best combination of a grid, with numbers computed by hand."""

import pandas as pd
import pytest
from scipy import stats

from harness.analysis.score_format import signed_interval
from harness.reporting import report
from tests.support.grid_factory import RTE, made, row, section, table
from tests.support.results_factory import SST2, answers, run_key, run_record

ROWS = {
    f"kd-loss={loss},map={map_}": row(loss=loss, map=map_, alpha=1.0)
    for loss in ("mse", "kl")
    for map_ in ("uniform", "last")
}
SCORES = {
    ("sst2", "kd-loss=mse,map=uniform", "small"): [0.80, 0.82, 0.84],
    ("sst2", "kd-loss=kl,map=uniform", "small"): [0.82, 0.83, 0.87],
    ("sst2", "kd-loss=mse,map=last", "small"): [0.70, 0.72, 0.74],
    ("sst2", "kd-loss=kl,map=last", "small"): [0.70, 0.75, 0.76],
    ("rte", "kd-loss=mse,map=uniform", "small"): [0.60, 0.60, 0.60],
    ("rte", "kd-loss=kl,map=uniform", "small"): [0.61, 0.61, 0.61],
    ("rte", "kd-loss=mse,map=last", "small"): [0.50, 0.50, 0.50],
    ("rte", "kd-loss=kl,map=last", "small"): [0.53, 0.51, 0.52],
}
TITLE = "Study of kd, student small"


def study(folder):
    return section(report(folder).markdown, TITLE)


def test_main_effects_by_hand(tmp_path):
    made(tmp_path, ROWS, SCORES)
    # kl - mse, seed by seed: of sst2 1, 2, 2.5; of rte 2, 1, 1.5. last - uniform: -11, -9, -10.5; -9, -10, -9.5.
    # The variances of the tasks' means add, with Satterthwaite's degrees of freedom.
    assert table(study(tmp_path)) == [
        ["option", "value", "average", "difference", "sst2", "rte"],
        ["*loss*", "*mse*", "66.0", "*reference*", "", ""],
        ["loss", "kl", "67.7", "+1.7 [+0.9, +2.4]", "+1.8 [-0.1, +3.7]", "+1.5 [+0.3, +2.7]"],
        ["*map*", "*uniform*", "71.8", "*reference*", "", ""],
        ["map", "last", "61.9", "-9.8 [-10.9, -8.7]", "-10.2 [-12.8, -7.6]", "-9.5 [-10.7, -8.3]"],
    ]
    assert "average over sst2, rte, its difference from that of the option's first value" in study(tmp_path)
    assert "the 95 % interval of the paired difference over seeds and examples" in study(tmp_path)


def test_main_effects_of_rows_without_predictions_that_others_have_have_no_interval(tmp_path):
    """On sst2: another row of the student has predictions there, so the variance over examples exists."""
    other = {("sst2", "other", "small"): [None] * 3, ("rte", "other", "small"): [0.5] * 3}
    store = made(tmp_path, {**ROWS, "other": row(1, method="other")}, {**SCORES, **other})
    for seed in (1, 2, 3):
        cell = ("sst2", "other", "small", seed)
        store.save(run_record(*cell, 0.5), answers("sst2", run_key(*cell), 0.5))
    assert table(study(tmp_path))[2][2:] == ["67.7", "+1.7", "+1.8", "+1.5 [+0.3, +2.7]"]


def test_the_best_combination(tmp_path):
    made(tmp_path, ROWS, SCORES)
    shown = study(tmp_path)
    assert "Of 4 complete combinations: **loss: kl, map: uniform** (`kd-loss=kl,map=uniform`), average 72.5." in shown
    assert "against the first combination and the next best, `kd-loss=mse,map=uniform`: +1.5 [+0.6, +2.4]" in shown
    assert "Not significantly different" not in shown
    assert "Rows with missing results" not in shown


def test_two_rows_have_the_interval_of_the_board_and_other_means_say_that_theirs_is_their_own(tmp_path):
    own = "A mean over several combinations is no difference of two rows: its variance over seeds is not moderated."
    made(tmp_path / "crossed", ROWS, SCORES)
    assert own in study(tmp_path / "crossed")
    one_option = {f"kd-loss={loss}": row(loss=loss) for loss in ("mse", "kl", "none")}
    renamed = {"kd-loss=mse": "mse,map=last", "kd-loss=kl": "kl,map=uniform", "kd-loss=none": "mse,map=uniform"}
    scores = {
        (t, label, "small"): SCORES[t, f"kd-loss={of}", "small"]
        for t in ("sst2", "rte")
        for label, of in renamed.items()
    }
    made(tmp_path / "single", one_option, scores)
    text = report(tmp_path / "single").markdown
    assert own not in text
    behind = {line[0]: line[5] for line in table(section(text, "Over the whole suite"))[1:]}
    frame = pd.read_csv(tmp_path / "single" / "sections" / "study.csv").set_index(["option", "value", "scope"])
    assert behind["kd-loss=kl"] == "–"
    for value in ("kl", "none"):
        line, combination = frame.loc["loss", value, "average"], frame.loc["combination", f"kd-loss={value}", "average"]
        assert line[["low", "high"]].tolist() == combination[["low", "high"]].tolist()
    mean, low, high = -frame.loc["loss", "kl", "average"][["difference", "low", "high"]]
    assert behind["kd-loss=mse"] == signed_interval(mean, high, low)


def test_csv_has_the_unrounded_numbers(tmp_path):
    made(tmp_path, ROWS, SCORES)
    (path,) = [path for path in report(tmp_path).files if path.parent.name == "sections"]
    assert path.name == "study.csv"
    frame = pd.read_csv(path).set_index(["option", "value", "scope"])
    kl = frame.loc["loss", "kl", "average"]
    of_sst2, of_rte = 7 / 12 / 3, 1 / 4 / 3
    freedom = (of_sst2 + of_rte) ** 2 / (of_sst2**2 / 2 + of_rte**2 / 2)
    margin = stats.t.ppf(0.975, freedom) * (of_sst2 + of_rte) ** 0.5 / 2
    assert kl["mean"] == pytest.approx(67 + 2 / 3)
    assert kl[["difference", "low", "high"]].tolist() == pytest.approx([5 / 3, 5 / 3 - margin, 5 / 3 + margin])
    assert (kl["seeds"], kl["method"], kl["student"]) == (3, "kd", "small")
    assert frame.loc[("loss", "mse", "average"), ["difference", "low"]].isna().all()
    assert frame.loc["combination", "kd-loss=kl,map=last", "rte"]["difference"] == pytest.approx(-8)


def test_effect_is_over_combinations_complete_for_every_value(tmp_path):
    made(tmp_path, ROWS, {**SCORES, ("rte", "kd-loss=kl,map=last", "small"): [0.9, None, 0.9]})
    shown = study(tmp_path)
    loss, map_ = table(shown)[2], table(shown)[4]
    # The average: only where map is uniform, 1.5, 1, 2; sst2 is as it was.
    # One combination is a difference of two rows, with the moderated interval of the board.
    assert loss[2:] == ["72.5", "+1.5 [+0.3, +2.7]", "+1.8 [-0.1, +3.7]", "+1.0"], "on rte the same with every seed"
    assert map_[2:4] == ["61.0", "-10.0 [-10.5, -9.5]"]
    assert "`loss` is compared over 1 of 2 (average, rte) combinations of the other options" in shown
    assert "Of 3 complete combinations" in shown
    assert "Rows with missing results: `kd-loss=kl,map=last` (missing on rte)." in shown


def test_value_without_results_does_not_affect_the_others(tmp_path):
    rows = {**ROWS, **{f"kd-loss={loss},map=mean": row(loss=loss, map="mean", alpha=1.0) for loss in ("mse", "kl")}}
    na = [(task, f"kd-loss={loss},map=mean", "small") for task in ("sst2", "rte") for loss in ("mse", "kl")]
    made(tmp_path / "na", rows, SCORES, na=na)
    made(tmp_path / "gone", rows, SCORES | {cell: [None] * 3 for cell in na})
    for folder, word in (("na", "n/a"), ("gone", "missing")):
        shown = table(study(tmp_path / folder))
        assert shown[2][2:4] == ["67.7", "+1.7 [+0.9, +2.4]"], "kl, over uniform and last"
        assert shown[4][2:4] == ["61.9", "-9.8 [-10.9, -8.7]"]
        assert shown[5] == ["map", "mean", word, word, word, word]
        assert "2 of 3 (average, sst2, rte)" in study(tmp_path / folder)
    assert "`kd-loss=mse,map=mean` (missing)" in study(tmp_path / "gone")


def test_next_value_is_the_reference_if_the_first_has_no_results(tmp_path):
    gone = {cell: [None] * 3 for cell in SCORES if "loss=mse" in cell[1]}
    made(tmp_path, ROWS, SCORES | gone)
    shown = table(study(tmp_path))
    assert [line[:4] for line in shown[1:3]] == [
        ["loss", "mse", "missing", "missing"],
        ["*loss*", "*kl*", "67.7", "*reference*"],
    ]
    assert shown[4][:4] == ["map", "last", "62.8", "-9.7 [-11.9, -7.5]"]


def test_no_effect_without_common_combinations(tmp_path):
    gone = {cell: [None] * 3 for cell in SCORES if cell[1] in ("kd-loss=mse,map=uniform", "kd-loss=kl,map=last")}
    made(tmp_path, ROWS, SCORES | gone)
    shown = study(tmp_path)
    assert [line[2:] for line in table(shown)[1:]] == [
        ["–", "*reference*", "", ""],
        ["–", "–", "–", "–"],
    ] * 2
    assert "0 of 2" in shown
    assert "+" not in "".join(cell for line in table(shown) for cell in line)


def test_no_results_yet(tmp_path):
    made(tmp_path, ROWS, {cell: [None] * 3 for cell in SCORES})
    shown = study(tmp_path)
    assert "No combination is complete yet." in shown
    assert "Rows with missing results: `kd-loss=mse,map=uniform` (missing), " in shown
    assert not (tmp_path / "sections").exists()


def test_one_seed_without_predictions_has_no_intervals(tmp_path):
    made(tmp_path, ROWS, {cell: scores[:1] for cell, scores in SCORES.items()})
    shown = study(tmp_path)
    assert table(shown)[2][2:4] == ["66.5", "+1.5"]
    assert "says nothing about other seeds" in shown
    assert "One seed does not show how certain this is." in shown
    assert "[" not in shown


def test_combinations_with_equal_printed_scores_are_tied(tmp_path):
    same = {("sst2", "kd-loss=kl,map=last", "small"): SCORES["sst2", "kd-loss=kl,map=uniform", "small"]}
    same |= {("rte", "kd-loss=kl,map=last", "small"): SCORES["rte", "kd-loss=kl,map=uniform", "small"]}
    made(tmp_path, ROWS, SCORES | same)
    shown = study(tmp_path)
    assert "average 72.5, tied with `kd-loss=kl,map=last`." in shown
    assert "- against the next best, `kd-loss=kl,map=last`: 0.0 [0.0, 0.0]" in shown
    different = (
        "Not significantly different from it, because the interval of the difference includes 0: `kd-loss=kl,map=last`."
    )
    assert different in shown


def test_a_lead_that_is_the_same_with_every_seed_is_not_compared(tmp_path):
    labels = ("kd-loss=mse,map=uniform", "kd-loss=kl,map=uniform")
    scores = {("sst2", label, "small"): SCORES["rte", label, "small"] for label in labels}
    made(tmp_path, {label: ROWS[label] for label in labels}, scores, tasks=[SST2])
    shown = study(tmp_path)
    assert (
        "Not compared with it, because the difference is the same with every seed: `kd-loss=mse,map=uniform`." in shown
    )
    assert "usable predictions" not in shown


def test_best_combination_if_lower_is_better(tmp_path):
    tasks = [task.model_copy(update={"higher_is_better": False}) for task in (SST2, RTE)]
    made(tmp_path / "less", ROWS, SCORES, tasks=tasks)
    assert "**loss: mse, map: last** (`kd-loss=mse,map=last`), average 61.0." in study(tmp_path / "less")
    made(tmp_path / "both", ROWS, SCORES, tasks=[tasks[0], RTE])
    assert table(study(tmp_path / "both"))[0] == ["option", "value", "sst2", "difference", "rte"]
    errors = [task.model_copy(update={"percent": True}) for task in tasks]
    made(tmp_path / "errors", ROWS, SCORES, tasks=errors)
    assert table(study(tmp_path / "errors"))[0] == ["option", "value", "sst2", "difference", "rte"]


def test_task_that_is_na_for_every_row_is_left_out(tmp_path):
    scores = {cell: by_seed for cell, by_seed in SCORES.items() if cell[0] == "sst2"}
    made(tmp_path, ROWS, scores, na=[cell for cell in SCORES if cell[0] == "rte"])
    assert table(study(tmp_path))[0] == ["option", "value", "sst2", "difference"]
    assert table(study(tmp_path))[2][2:] == ["78.8", "+1.8 [-0.1, +3.7]"]


def test_each_student_has_its_own_study(tmp_path):
    other = {(task, label, "big"): [score - 0.1 for score in scores] for (task, label, _), scores in SCORES.items()}
    made(tmp_path, ROWS, SCORES | other)
    text = report(tmp_path).markdown
    assert table(section(text, "Study of kd, student big"))[2][2:4] == ["57.7", "+1.7 [+0.9, +2.4]"]
    assert len(pd.read_csv(tmp_path / "sections" / "study.csv")["student"].unique()) == 2


def test_no_section_without_a_grid(tmp_path):
    rows = {"a": row(0, alpha=1, method="x"), "b": row(1, alpha=2, method="y")}
    made(
        tmp_path,
        rows,
        {("sst2", label, "small"): [0.8] for label in rows} | {("rte", label, "small"): [0.8] for label in rows},
    )
    assert "## Study" not in report(tmp_path).markdown
