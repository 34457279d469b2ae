"""Tests of the section on variants, with numbers computed by hand."""

import json

import pandas as pd
import pytest
from scipy import stats

from harness.reporting import report
from tests.support.grid_factory import made, row, section, table

FULL = {"emb": True, "kd": True, "steps": [1, 2]}
ROWS = {
    "finetune": row(0, method="other", plain=True, teachers=[]),
    "less": row(1, **{**FULL, "emb": False}),
    "full": row(2, plain=True, **FULL),
    "alone": row(3, **{**FULL, "kd": False, "steps": [1]}, teachers=["base", "large"]),
}
SCORES = {
    ("sst2", "finetune", "small"): [0.5, 0.5, 0.5],
    ("rte", "finetune", "small"): [0.5, 0.5, 0.5],
    ("sst2", "full", "small"): [0.80, 0.82, 0.84],
    ("rte", "full", "small"): [0.60, 0.60, 0.60],
    ("sst2", "less", "small"): [0.79, 0.80, 0.81],
    ("rte", "less", "small"): [0.59, 0.60, 0.61],
    ("sst2", "alone", "small"): [0.80, 0.82, 0.84],
    ("rte", "alone", "small"): [0.50, 0.50, 0.50],
}
TITLE = "Variants of kd, student small"


def shown(folder):
    return section(report(folder).markdown, TITLE)


def test_differences_by_hand(tmp_path):
    made(tmp_path, ROWS, SCORES)
    # less - full, seed by seed: of sst2 -1, -2, -3; of rte -1, 0, 1; the variances of both add. That of sst2, 1, is
    # moderated by the mean over the pairs of three rows: 1, 4, 1; alone has the scores of full and counts once. That of
    # rte, 1, is above the mean over the pairs of finetune, less, full and alone, and stays.
    assert table(shown(tmp_path)) == [
        ["label", "what differs", "average", "difference", "sst2", "rte"],
        ["*full*", "", "71.0", "*reference*", "", ""],
        ["less", "emb: false", "70.0", "-1.0 [-2.0, 0.0]", "-2.0 [-4.0, 0.0]", "0.0 [-2.5, +2.5]"],
        [
            "alone",
            "kd: false, steps: 1, teachers: base, large",
            "66.0",
            "-5.0 [-5.8, -4.2]",
            "0.0 [0.0, 0.0]",
            "-10.0 [-10.9, -9.1]",
        ],
    ]
    assert "its difference from the same student's with `full`" in shown(tmp_path)
    frame = pd.read_csv(tmp_path / "sections" / "variants.csv").set_index(["label", "scope"])
    assert frame.loc["less", "sst2"][["mean", "difference"]].tolist() == pytest.approx([80, -2])
    variance, freedom = (2 * 2 + 2 * 1) / (2 + 2), 2 + 2
    assert frame.loc["less", "sst2"]["low"] == pytest.approx(-2 - stats.t.ppf(0.975, freedom) * (variance / 3) ** 0.5)
    assert "finetune" not in frame.index.get_level_values(0)


def test_the_interval_of_a_pair_is_that_of_the_whole_board(tmp_path):
    """In Variants, in "behind the best" and in leaderboard.json, though the rows' variances over seeds are unequal."""
    spreads = {"full": 0.1, "less": 2.0, "alone": 9.0}
    scores = {
        (task, label, "small"): [score + spread * step / 100 for step in (-1, 0.3 * place - 1, 1)]
        for task, score in (("sst2", 0.8), ("rte", 0.6))
        for place, (label, spread) in enumerate(spreads.items())
    }
    made(tmp_path, {label: ROWS[label] for label in spreads}, scores)
    text = report(tmp_path).markdown
    of_variants = {line[0]: line[3] for line in table(section(text, TITLE))[2:]}
    behind = {line[0]: line[5] for line in table(section(text, "Over the whole suite"))[1:]}
    assert behind == {"full": "–", **of_variants}, "full is the best"
    frame = pd.read_csv(tmp_path / "sections" / "variants.csv").set_index(["label", "scope"])
    for pair in json.loads((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))["comparisons"]:
        if "full" in pair["labels"]:
            line = frame.loc[next(label for label in pair["labels"] if label != "full"), "average"]
            ends = (pair["low"], pair["high"]) if pair["labels"][1] == "full" else (-pair["high"], -pair["low"])
            assert (line["low"], line["high"]) == pytest.approx(ends, abs=1e-9)


def test_first_entry_is_the_full_method_by_default(tmp_path):
    rows = ROWS | {"full": ROWS["full"].model_copy(update={"plain": False})}
    made(tmp_path, rows, SCORES)
    assert [line[:2] for line in table(shown(tmp_path))[1:3]] == [["*less*", ""], ["full", "emb: true"]]


def test_incomplete_row_is_compared_on_complete_tasks_only(tmp_path):
    made(tmp_path, ROWS, SCORES | {("rte", "less", "small"): [0.5, None, 0.5]})
    assert table(shown(tmp_path))[2][2:] == ["missing", "missing", "-2.0 [-4.0, 0.0]", "missing"]
    assert table(shown(tmp_path))[3][3] == "-5.0 [-5.9, -4.1]"
    assert "Rows with missing results: `less` (missing on rte)." in shown(tmp_path)


def test_no_difference_if_the_full_method_is_incomplete(tmp_path):
    made(tmp_path, ROWS, SCORES | {("rte", "full", "small"): [0.5, None, 0.5]})
    assert table(shown(tmp_path))[1][2:] == ["missing", "*reference*", "", ""]
    assert table(shown(tmp_path))[2][2:] == ["70.0", "–", "-2.0 [-4.0, 0.0]", "–"]


def test_variant_that_is_not_applicable(tmp_path):
    scores = {cell: by_seed for cell, by_seed in SCORES.items() if cell[:2] != ("rte", "less")}
    made(tmp_path, ROWS, scores, na=[("rte", "less", "small")])
    assert table(shown(tmp_path))[2][2:] == ["n/a", "n/a", "-2.0 [-4.0, 0.0]", "n/a"]
    assert "`less` (n/a on rte)" in shown(tmp_path)


def test_one_seed(tmp_path):
    made(tmp_path, ROWS, {cell: scores[:1] for cell, scores in SCORES.items()})
    assert table(shown(tmp_path))[2][2:] == ["69.0", "-1.0", "-1.0", "-1.0"]
    assert "says nothing about other seeds" in shown(tmp_path)


def test_grid_rows_are_not_variants(tmp_path):
    rows = {label: planned.model_copy(update={"entry": 0}) for label, planned in ROWS.items() if label != "finetune"}
    made(tmp_path, rows, {cell: scores for cell, scores in SCORES.items() if cell[1] in rows})
    text = report(tmp_path).markdown
    assert "## Variants" not in text
    assert "## Study of kd" in text


def test_different_stages_are_named(tmp_path):
    longer = ROWS["less"].model_copy(update={"options": FULL, "stages": {"first": {"epochs": 9}}})
    made(tmp_path, ROWS | {"less": longer}, SCORES)
    assert table(shown(tmp_path))[2][1] == 'stages: {"first": {"epochs": 9}}'


def test_two_methods_are_not_variants_of_each_other(tmp_path):
    two = {cell: scores for cell, scores in SCORES.items() if cell[1] in ("less", "full")}
    rows = ROWS | {"less": ROWS["less"].model_copy(update={"method": "x"})}
    made(tmp_path, {label: rows[label] for label in ("less", "full")}, two)
    assert "## Variants" not in report(tmp_path).markdown
