"""What says one class of every example: its score on the board, and the cells that are no better."""

import json

import numpy as np
import pandas as pd
import pytest

from harness.analysis.aggregate import summarize
from harness.analysis.bootstrap import RecordedScore, bootstrap_scores
from harness.analysis.prediction_tables import TaskExamples
from harness.reporting import report
from harness.storage.plan_file import PlannedTask
from tests.support.results_factory import SQUAD, SST2, answers, fill, plan, run_key, run_record

LABELS = np.array([1] * 68 + [0] * 32)


def constant(tmp_path, score, recorded, frame=None, *, kind="classification", **changes):
    """The constant score of a task. The default predictions are all correct."""
    if frame is None:
        frame = pd.DataFrame({"id": [str(n) for n in range(100)], "prediction": LABELS, "label": LABELS})
    path = tmp_path / "k.parquet"
    frame.assign(**({} if "split" in frame else {"split": "validation"})).to_parquet(path, index=False)
    task = PlannedTask(name="t", kind=kind, score=score, synthetic=False, **changes)
    return bootstrap_scores(task, "print", [RecordedScore("k", TaskExamples(task).read(path), recorded)]).constant


@pytest.mark.parametrize(
    ("score", "expected"), [("accuracy", 0.68), ("f1", 2 * 68 / (100 + 68)), ("matthews_correlation", 0.0)]
)
def test_the_best_class_is_used(tmp_path, score, expected):
    assert constant(tmp_path, score, 1.0) == pytest.approx(expected)


def test_the_lowest_score_is_used_if_lower_is_better(tmp_path):
    assert constant(tmp_path, "accuracy", 1.0, higher_is_better=False) == pytest.approx(0.32)


def test_one_class_is_used_for_all_splits(tmp_path):
    """Shares of class 1: 0.9 and 0.4, of class 0: 0.1 and 0.6. The result is 0.65, not the mean of 0.9 and 0.6."""
    labels = np.concatenate([np.arange(10) < 9, np.arange(10) < 4]).astype(int)
    frame = pd.DataFrame({"id": [str(n) for n in range(20)], "prediction": labels, "label": labels})
    frame["split"] = ["matched"] * 10 + ["mismatched"] * 10
    assert constant(tmp_path, "accuracy", 1.0, frame) == pytest.approx(0.65)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("f1_micro", 2 * 5 / (4 * 2 + 6)),  # classes 0 and 1 everywhere: 5 of 8 are right, of 6 labels
        ("f1_macro", (2 * 3 / 7 + 2 * 2 / 6 + 2 * 1 / 5) / 3),  # all three classes everywhere
        ("subset_accuracy", 0.5),  # the set {0}
    ],
)
def test_the_best_set_of_classes_is_used(tmp_path, score, expected):
    labels = [[0], [0], [0, 1], [1, 2]]
    frame = pd.DataFrame({"id": list("abcd"), "prediction": labels, "label": labels})
    labels = {"kind": "multilabel", "labels": ["x", "y", "z"]}
    assert constant(tmp_path, score, 1.0, frame, **labels) == pytest.approx(expected)


@pytest.mark.parametrize(("score", "expected"), [("token_accuracy", 4 / 7), ("entity_f1", 2 * 1 / (2 + 2))])
def test_the_best_tag_is_used(tmp_path, score, expected):
    """Everywhere O has no entity; everywhere I-PER has one in each sentence, of which one is right."""
    labels = [["O", "B-PER", "O", "O", "O"], ["I-PER", "I-PER"]]
    frame = pd.DataFrame({"id": list("ab"), "prediction": labels, "label": labels})
    tags = {"kind": "token_classification", "labels": ["O", "B-PER", "I-PER"]}
    assert constant(tmp_path, score, 1.0, frame, **tags) == pytest.approx(expected)


@pytest.mark.parametrize(("score", "expected"), [("mse", 2.56), ("mae", 0.8)])
def test_the_best_number_is_used(tmp_path, score, expected):
    """The mean, 0.8, has the least squared error; the median, 0, the least absolute one."""
    labels = [0.0, 0.0, 0.0, 0.0, 4.0]
    frame = pd.DataFrame({"id": list("abcde"), "prediction": labels, "label": labels})
    assert constant(tmp_path, score, 0.0, frame, kind="regression", higher_is_better=False) == pytest.approx(expected)


def test_correlations_have_no_constant_answer(tmp_path):
    frame = pd.DataFrame({"id": list("abc"), "prediction": [1.0, 2.0, 3.0], "label": [1.0, 2.0, 3.0]})
    assert constant(tmp_path, "pearson", 1.0, frame, kind="regression") is None


def test_scores_that_predictions_do_not_reproduce_have_no_constant_answer(tmp_path):
    assert constant(tmp_path, "kappa", 1.0) is None
    assert constant(tmp_path, "accuracy", 0.5) is None, "the predictions give 1"


@pytest.fixture
def folder(tmp_path):
    """A board on which kd on the small student is right on half of sst2, which has balanced classes."""
    keys = [run_key("sst2", "kd", "small", seed) for seed in (1, 2, 3)]
    store = fill(tmp_path, leave_out=keys, answered=True)
    for seed, key in enumerate(keys, start=1):
        store.save(run_record("sst2", "kd", "small", seed, 0.5), answers("sst2", key, 0.5))
    return tmp_path


def test_its_row_follows_the_teachers_and_scores_no_better_are_marked(folder):
    board = report(folder).board
    assert [line.role for line in board.lines[:3]] == ["teacher", "constant", "student"]
    assert board.lines[1].cells == ("–", "constant answer", "–", "50.0", "–", "–", "–")
    marked = {line.cells[1:3]: [i for i, cell in enumerate(line.cells) if "†" in cell] for line in board.lines}
    assert {row: columns for row, columns in marked.items() if columns} == {("kd", "small"): [3]}
    text = (folder / "leaderboard.md").read_text()
    assert "| *constant answer* |" in text
    assert "- † no better than a constant answer" in text
    assert "- Constant answer: the best score of one answer for every example, chosen" in text
    assert r"50.0 {$^{\dagger}_{\pm " in (folder / "leaderboard.tex").read_text()


def test_it_is_exported_and_on_the_page(folder):
    report(folder)
    frame = pd.read_csv(folder / "leaderboard.csv")
    assert frame["role"].tolist() == ["teacher", "constant", *["student"] * 4]
    row = frame.iloc[1]
    assert (row["label"], row["sst2_accuracy_mean"], row["squad_state"]) == ("constant answer", 50.0, "not applicable")
    assert row[["rank", "average_mean", "sst2_accuracy_low", "parameters_min", "student_seconds"]].isna().all()
    rows = json.loads((folder / "leaderboard.json").read_text())["rows"]
    assert [each["tasks"]["sst2"]["mean"] for each in rows if each["role"] == "constant"] == [50.0]
    assert '<tbody class="constant">' in (folder / "index.html").read_text()


def test_it_has_an_average_if_all_tasks_are_classification(tmp_path):
    store = fill(tmp_path, plan([SST2]), answered=True)
    assert summarize(store).constant.average.mean == 50.0
    assert report(tmp_path).board.lines[1].cells[4] == "50.0"


@pytest.mark.parametrize(("tasks", "answered"), [([SQUAD], True), ([SST2, SQUAD], False)])
def test_without_a_score_it_has_no_row(tmp_path, tasks, answered):
    fill(tmp_path, plan(tasks), answered=answered)
    written = report(tmp_path)
    assert "constant" not in [line.role for line in written.board.lines]
    assert "onstant answer" not in written.markdown
