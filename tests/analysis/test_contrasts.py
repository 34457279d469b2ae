"""Examples on which rows differ: counts by hand, the answers of all seeds, and the limit on the number of rows."""

import numpy as np
import pyarrow as pa
import pytest

from harness.analysis import contrasts as module
from harness.analysis.contrasts import compared_rows, contrasts
from harness.analysis.prediction_tables import TaskExamples
from harness.storage.plan_file import PlannedTask
from tests.support.results_factory import SCORES, SST2, plan, run_record, teacher_record

TASK = SST2.model_copy(update={"labels": ["bad", "good"]})
STSB = PlannedTask(name="sst2", kind="regression", score="pearson", synthetic=False)
KD, FINETUNE = ("student", "kd", "big"), ("student", "finetune", "big")
LABELS = [0, 1, 0, 1]


def compared(answers, task=TASK, labels=LABELS):
    """The contrasts of rows, given label -> the predictions of its seeds."""
    planned = plan([task], seeds=len(next(iter(answers.values()))))
    examples = TaskExamples(task)
    results, tables = {}, {}
    for run in planned.runs:
        if run.student == "big" and run.label in answers:
            ids = [str(number) for number in range(len(labels))]
            columns = {"id": ids, "prediction": answers[run.label][run.seed - 1], "label": labels}
            tables[run.key] = examples.predictions(pa.table(columns | {"split": ["validation"] * len(ids)}))
            results[run.key] = run_record("sst2", run.label, "big", run.seed, key=run.key)
    return contrasts(planned, task, [KD, FINETUNE], results, tables)


def test_counts_and_answers_by_hand():
    found = compared(
        {
            "kd": [[0, 1, 0, 0], [0, 1, 1, 0]],  # right: 2 of 2, 2 of 2, 1 of 2, 0 of 2
            "finetune": [[0, 0, 0, 1], [0, 0, 0, 1]],  # right: 2, 0, 2, 2
        }
    )
    pair = found.pairs[KD, FINETUNE]
    assert (pair.better, pair.worse, found.scored) == (1, 2, 4)
    assert [found.examples[index].id for index in pair.examples] == ["1", "3", "2"], "the largest differences first"
    assert [example.gold for example in found.examples] == ["good", "bad", "good"]
    assert found.answers[KD] == [("good", 1.0), ("bad (1 of 2), good (1 of 2)", 0.5), ("bad", 0.0)]
    assert found.answers[FINETUNE][0] == ("bad", 0.0)


def test_regressions_compare_residuals():
    found = compared({"kd": [[0.0, 1.5]], "finetune": [[2.0, 1.0]]}, STSB, [0.5, 1.5])
    pair = found.pairs[KD, FINETUNE]
    assert (pair.better, pair.worse) == (2, 0)
    assert found.answers[KD] == [("0.00", None), ("1.50", None)]


def test_rows_without_predictions_of_every_seed_and_hidden_labels_have_none():
    assert compared({"kd": [LABELS]}) is None
    assert compared({"kd": [LABELS], "finetune": [LABELS]}, labels=[-1] * 4) is None
    assert compared({"kd": [LABELS], "finetune": [LABELS]}).pairs[KD, FINETUNE].examples == ()


@pytest.mark.parametrize(("most", "expected"), [(20, 5), (2 * 3, 3)])
def test_of_a_large_board_the_teacher_and_the_best_rows_are_compared(most, expected, monkeypatch):
    monkeypatch.setattr(module, "MAX_DIFFERENCES", most)
    planned = plan()
    results = {
        run.key: run_record(*_cell(run), SCORES[_cell(run)[:3]][run.seed - 1], key=run.key) for run in planned.runs
    }
    results |= {f"base-{task.name}": teacher_record(task.name) for task in planned.tasks}
    rows = compared_rows(planned, results)
    assert len(rows) == expected
    assert rows[0] == ("teacher", "base", "")
    assert set(rows) >= {KD, FINETUNE}, "the rows on big are the best"
    assert np.unique([row[0] for row in rows]).tolist() == ["student", "teacher"]


def test_rows_with_an_undefined_score_do_not_decide_which_rows_are_compared(monkeypatch):
    monkeypatch.setattr(module, "MAX_DIFFERENCES", 1)
    planned = plan([TASK])
    scores = {FINETUNE: 0.5, KD: 0.9}
    results = {
        run.key: run_record(*_cell(run), scores.get(("student", run.label, run.student), float("nan")), key=run.key)
        for run in planned.runs
    }
    for order in (planned, planned.model_copy(update={"runs": planned.runs[::-1]})):
        assert {*compared_rows(order, results)} == {("teacher", "base", ""), KD}


def _cell(run):
    return run.task, run.label, run.student, run.seed
