"""`harness compare`, `harness merge` and `harness report` of several folders."""

import json
import shutil
from types import SimpleNamespace

import pytest

from harness.cli import app
from harness.storage.store import Store
from tests.support.results_factory import SQUAD, SST2, fill, plan, run_key, run_record

KEY = run_key("sst2", "kd", "big", 1)


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr("harness.plots.draw", lambda summary: ())
    monkeypatch.setattr(app, "gc", SimpleNamespace(disable=lambda: None, freeze=lambda: None))


@pytest.fixture
def harness(monkeypatch, tmp_path, capsys):
    """Calls the command line in `tmp_path`; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr("sys.argv", ["harness", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            app.main()
        return int(caught.value.code or 0), *capsys.readouterr()

    return call


def test_compare_prints_differences_and_exits_with_0(harness, tmp_path):
    fill(tmp_path / "a", answered=True)
    fill(tmp_path / "b", plan(seeds=2), instead={KEY: run_record("sst2", "kd", "big", 1, 0.5)})
    code, text, errors = harness("compare", "a", "b")
    assert (code, errors) == (0, "")
    lines = text.splitlines()
    assert lines[0] == "first: a (demo, 26 results; harness run demo.yaml)"
    assert "Versions and machines: no difference" in lines
    assert "1 of 18 results with the same key differ: nothing that the suite sets explains it, but" in text
    assert any(line.split() == ["seeds", "[1,", "2,", "3]", "[1,", "2]"] for line in lines)
    (average,) = (line for line in lines if line.startswith("average  kd") and "big" in line)
    assert average.endswith("other seeds")
    assert "Intervals and p of kd big, finetune big, kd small and others cover seeds only: examples could" in text
    assert harness("compare", "a", "a")[0] == 0


def test_compare_as_json(harness, tmp_path):
    fill(tmp_path / "a", answered=True)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    code, text, _ = harness("compare", "a", "b", "--json")
    found = json.loads(text)
    assert code == 0
    assert found["folders"][1] == {"folder": "b", "suite": "demo", "command": "harness run demo.yaml"}
    assert (found["settings"], found["environment"], found["equal_keys"]) == ([], [], 26)
    row = next(row for row in found["scores"] if row["scope"] == "average" and row["label"] == "kd")
    assert (row["difference"], row["paired"], row["p_holm"], row["significant"]) == (0.0, True, 1.0, False)
    assert row["tasks"] == ["sst2", "squad"]


def test_compare_of_boards_without_a_common_task(harness, tmp_path):
    fill(tmp_path / "a", plan(tasks=[SST2]))
    fill(tmp_path / "b", plan(tasks=[SQUAD]))
    code, text, _ = harness("compare", "a", "b")
    assert code == 0
    assert "there are no scores to compare" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "a", "nowhere"], "error: nowhere: no such results folder"),
        (["compare", "a"], "Missing argument 'DIR'"),
        (["merge", "a", "nowhere", "--to", "m"], "error: nowhere: no such results folder"),
        (["merge", "a", "--to", "m", "--prefer", "newest"], "'newest' is not one of 'first', 'last'"),
        (["merge", "a"], "Missing option '--to'"),
        (["report", "x*"], "error: x*: matches nothing"),
        (["report", "*.txt"], "matches no results folder (none has a plan.json)"),
        (["report", "a", "b", "--format", "md"], "--format prints the report of one folder, found 2"),
    ],
)
def test_wrong_input_exits_with_2(harness, tmp_path, words, message):
    fill(tmp_path / "a")
    (tmp_path / "notes.txt").touch()
    code, _, errors = harness(*words)
    assert code == 2
    assert message in " ".join(errors.replace("│", " ").split())
    assert "Traceback" not in errors


def test_merge_prints_what_it_did_and_the_board(harness, tmp_path):
    keys = [run.key for run in plan().runs]
    fill(tmp_path / "1" / "demo", leave_out=keys[::2])
    fill(tmp_path / "2" / "demo", leave_out=keys[1::2])
    code, text, errors = harness("merge", "1/demo", "2/demo", "--to", "all/demo")
    assert code == 0
    assert text.startswith("# demo: leaderboard")
    assert "INCOMPLETE" not in text
    assert "merged into all/demo:" in errors
    assert any(line.split() == ["runs", "24", "0"] for line in errors.splitlines())
    assert "in several folders, and equal: 2 results" in errors
    assert Store(tmp_path / "all" / "demo").plan().command == "harness run demo.yaml --results all"


def test_merge_says_what_was_decided_and_set_aside(harness, tmp_path):
    fill(tmp_path / "a")
    fill(tmp_path / "b", instead={KEY: run_record("sst2", "kd", "big", 1, 0.5)})
    assert harness("merge", "b", "--to", "a")[0] == 2
    code, _, errors = harness("merge", "b", "--to", "a", "--prefer", "last")
    assert code == 0
    assert "results that were replaced are in a/set-aside/" in errors


def test_report_of_a_pattern_and_of_several_folders(harness, tmp_path):
    for name in ("one", "two"):
        fill(tmp_path / "results" / name)
    (tmp_path / "results" / "notes").mkdir()
    code, text, errors = harness("report", "results/*")
    assert (code, errors) == (0, "")
    assert [line.split(": ")[0] for line in text.splitlines()] == ["results/one", "results/two"]
    assert "results/one: results/one/leaderboard.md and " in text
    assert harness("report", tmp_path / "results" / "o*")[1].startswith("# demo"), "a single match is printed"
    assert harness("report", "results/one", "results/t*", "results/two")[1].count("\n") == 2


def test_a_report_that_fails_does_not_stop_the_others(harness, tmp_path):
    for name in ("a", "b", "c"):
        fill(tmp_path / name)
    (tmp_path / "b" / "plan.json").write_text("{}")
    code, text, errors = harness("report", "[abc]", "d")
    assert code == 2
    assert "b: failed, see below" in text
    assert all((tmp_path / name / "leaderboard.md").exists() is (name != "b") for name in "abc")
    assert "error: b/plan.json: schema_version is None" in errors
    assert "error: d: no such results folder" in errors
    assert "2 of 4 reports failed; the others are written" in errors
