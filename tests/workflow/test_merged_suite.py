"""A suite trained in two parts, on machines without a common disk, and merged: the same bits as in one folder."""

import csv

from harness.cli.folder_check import check_folder
from harness.cli.run_command import Output, build_plan, run_suite
from harness.planning import status
from harness.storage.store import Store
from harness.workflow.results_merging import merge_results
from harness.workflow.suite_execution import RunOptions

ONE = ("methods=[finetune, logit_kd]", "training.epochs=1")


def board(folder):
    """The cells of leaderboard.csv, without the times of training, which differ from run to run."""
    rows = csv.DictReader((folder / "leaderboard.csv").read_text().splitlines())
    return [{name: value for name, value in row.items() if not name.endswith("_seconds")} for row in rows]


def data(folder):
    """Path -> bytes of predictions, students and examples."""
    names = ("runs/*/predictions.parquet", "runs/*/student/*", "teachers/*/predictions.parquet", "examples/*")
    return {str(path.relative_to(folder)): path.read_bytes() for name in names for path in folder.glob(name)}


def test_two_parts_make_the_board_of_one_folder(small, monkeypatch, capsys):
    monkeypatch.setattr("harness.plots.draw", lambda summary: ())

    def run(machine, *only):
        monkeypatch.setenv("HARNESS_CACHE", str(small.folder / machine / "cache"))
        results = small.folder / machine / "results"
        assert run_suite(str(small.path), ONE, [], results, RunOptions(only=only), Output(quiet=True)) == 0
        return results / "small"

    whole = run("whole")
    parts = run("one", "label=finetune"), run("two", "label=logit_kd")
    target = small.folder / "merged" / "small"
    merged = merge_results(parts, target)
    assert merged.copied["runs"] == 4
    assert merged.shared == 1, "both machines fine-tuned the teacher"
    assert board(target) == board(whole)
    assert data(target) == data(whole)
    planned, _ = build_plan(str(small.path), ONE, [])
    assert all(run.done for run in status(planned, Store(target)))
    assert planned.file(merged.store.plan().command) == merged.store.plan()
    assert check_folder(target, repair=False) == 0
    capsys.readouterr()
    run_suite(str(small.path), ONE, [], target.parent, RunOptions(), Output())
    assert "0 of 4 runs to train" in capsys.readouterr().err
