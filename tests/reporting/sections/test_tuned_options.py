"""Tests of the tuning section, and of boards with unequal tuning."""

import json
from pathlib import Path

import pandas as pd
import pytest

from harness.api.errors import UserError
from harness.reporting import report
from harness.storage.plan_file import PlannedStudy, PlannedTuning
from harness.storage.records import TuningSummary
from harness.storage.tuning_records import Trial, TuningRecord
from tests.support.results_factory import fill, plan, provenance, run_key, run_record

PAGE = (Path(__file__).parents[3] / "docs" / "results.md").read_text(encoding="utf-8")
ROWS = [
    (task, label, student) for task in ("sst2", "squad") for label in ("finetune", "kd") for student in ("big", "small")
]


def study(task, label, student):
    return f"study-{task}-{label}-{student}"


def tuned(row, trials=3, **changes):
    defaults = {"study": study(*row), "trials": trials, "values": {"training.lr": 2e-5}, "score": 0.8, "seconds": 90}
    return TuningSummary(**(defaults | changes))


def record(task, label, student, **changes):
    factor = 100 if task == "squad" else 1
    scores = [0.5, 0.7, None]
    defaults = {
        "key": study(task, label, student),
        "task": task,
        "method": label,
        "label": label,
        "student": student,
        "seed": 1,
        "metric": "accuracy",
        "data_fingerprint": f"held-out-of-{task}",
        "space": {"training.lr": {"low": 1e-5, "high": 1e-4, "log": True}, "view": ["a|b", "c"]},
        "trials": [
            Trial(
                number=number,
                values={"training.lr": 10 ** -(4 + number / 4), "view": "a|b" if number else "c"},
                score=score and score * factor,
                error=None if score else "step 2 (only): ValueError: no",
                steps=100,
                seconds=30,
            )
            for number, score in enumerate(scores)
        ],
        "parts": {"seed": 1},
        "provenance": provenance(),
    }
    return TuningRecord(**(defaults | changes))


def fill_tuned(folder, *, idle=(), missing=(), on="train", instead=None):
    """Fill the store of a suite that tunes all rows except the `idle` ones; `missing` studies are not completed."""
    studies = [
        PlannedStudy(key=None if row in idle else study(*row), task=row[0], label=row[1], student=row[2])
        for row in ROWS
    ]
    runs = {
        run_key(*row, seed): run_record(*row, seed, 75.0 if row[0] == "squad" else 0.75, tuning=tuned(row))
        for row in ROWS
        for seed in (1, 2, 3)
        if row not in idle
    }
    planned = plan(tuning=PlannedTuning(trials=3, seed=1, on=on, studies=studies))
    store = fill(folder, planned, instead={**runs, **(instead or {})})
    for row in ROWS:
        if row not in idle and row not in missing:
            store.save_tuning(record(*row))
    return store


def section(folder):
    return report(folder).markdown.partition("## Tuning\n")[2].partition("\n## ")[0]


def test_each_row_and_task_has_a_line_on_the_boards_scale(tmp_path):
    fill_tuned(tmp_path)
    lines = [
        [c.strip() for c in line.strip("|").split(" | ")] for line in section(tmp_path).splitlines() if "|" in line
    ]
    by_row = {tuple(line[:3]): line[3:] for line in lines[2:]}
    assert set(by_row) == {(label, student, task) for task, label, student in ROWS}
    expected = [r"training.lr: 5.62e-05, view: a\|b", "70.0", "50.0", "1 of 3", "1.5 min"]
    assert by_row["kd", "big", "sst2"] == by_row["kd", "big", "squad"] == expected


def test_untuned_rows_and_tuning_examples_are_named(tmp_path):
    idle, missing = [("sst2", "finetune", "big")], [("squad", "kd", "small")]
    fill_tuned(tmp_path, idle=idle, missing=missing)
    text = section(tmp_path)
    assert "Every row had 3 trials (seed 1)" in text
    assert "held out of the training split" in text
    assert "Nothing to tune: `finetune` on big, sst2." in text
    assert "Not tuned yet: `kd` on small, squad." in text
    fill_tuned(tmp_path / "reported", on="validation")
    assert "scored on the validation examples" in section(tmp_path / "reported")


def test_tuning_cost_is_separate(tmp_path):
    fill_tuned(tmp_path)
    frame = pd.read_csv(next(path for path in report(tmp_path).files if path.name == "leaderboard.csv"))
    kd = frame.set_index(["label", "student"]).loc["kd", "big"]
    assert kd["tuning_seconds"] == 180, "90 s on each of two tasks, whatever the seeds"
    assert kd["student_seconds"] == 360
    plain = tmp_path / "plain"
    fill(plain)
    assert "tuning_seconds" not in pd.read_csv(next(p for p in report(plain).files if p.name == "leaderboard.csv"))
    assert "tuning" not in json.loads(report(plain).texts["json"])


@pytest.mark.parametrize("other", [{"trials": 30}, None], ids=["more trials", "none"])
def test_unequal_trial_counts_are_refused(tmp_path, other):
    row = ("sst2", "kd", "big")
    changed = run_record(*row, 2, 0.99, tuning=tuned(row, **other) if other else None)
    fill_tuned(tmp_path, instead={changed.key: changed})
    with pytest.raises(UserError) as refused:
        report(tmp_path)
    message = str(refused.value)
    assert "tuned with unequal budgets, so they are not comparable" in message
    assert f"{other['trials'] if other else 0} trials, 1 of 24" in message
    assert f"runs/{changed.key}/record.json" in message
    assert not (tmp_path / "leaderboard.md").exists()


def test_rows_with_nothing_to_tune_are_accepted(tmp_path):
    fill_tuned(tmp_path, idle=[("sst2", "finetune", "big"), ("squad", "finetune", "big")])
    assert report(tmp_path)


def test_docs_explain_the_section_and_its_file(tmp_path):
    fill_tuned(tmp_path)
    (path,) = [path for path in report(tmp_path).files if path.name == "tuning.csv"]
    columns = pd.read_csv(path).columns
    assert [name for name in ("tuning_seconds", *columns) if f"`{name}`" not in PAGE] == []
    assert "| Tuning |" in PAGE
    assert "tuning cost" in PAGE
