"""Commands that train a part of a suite, and the jobs that `harness plan` shows."""

import gc
import json
import sys
from unittest.mock import Mock

import pytest

from harness.api.errors import Problem, UserError
from harness.cli.plan_command import plan_suite
from harness.cli.rerun_command import matching, rerun_runs
from harness.cli.run_command import Output, run_suite
from harness.execution import teacher_runs
from harness.execution.claims import Claims
from harness.workflow import latency_measurement
from harness.workflow.suite_execution import RunOptions

ONE = ("seeds=[1]", "methods=[finetune, logit_kd]")


def run(small, *overrides, **settings):
    return run_suite(
        str(small.path), overrides, [], small.folder / "results", RunOptions(**settings), Output(quiet=True)
    )


def test_only_trains_the_selected_runs_and_what_they_need(small):
    other = "teachers.other={architecture: {layers: 1, hidden: 16, heads: 2, ffn: 16}, epochs: 1}"
    assert run(small, *ONE, other, only=["label=logit_kd"]) == 0
    assert len(list((small.store().folder / "teachers").iterdir())) == 1, "no run needs the other teacher"
    assert [record.label for record in small.store().records()] == ["logit_kd"]
    board = (small.store().folder / "leaderboard.md").read_text()
    assert "finetune" in board, "the board shows what is missing"
    with pytest.raises(UserError, match="no run of the suite has label 'pkd'"):
        run(small, *ONE, only=["label=pkd"])


def test_the_stored_command_defines_the_suite_whatever_part_was_trained(small):
    results = small.folder / "results"
    assert run(small, *ONE, only=["label=logit_kd"]) == 0
    expected = f"harness run {small.path} --set 'seeds=[1]' --set 'methods=[finetune, logit_kd]' --results {results}"
    assert small.store().plan().command == expected
    assert f"`{expected}` runs only what is missing" in (small.store().folder / "leaderboard.md").read_text()
    (key,) = [record.key for record in small.store().records()]
    assert rerun_runs(str(small.path), [key], ONE, [], results, quiet=True) == 0
    assert small.store().plan().command == expected


def test_rerun_sets_the_old_result_aside(small, capsys):
    run(small, *ONE)
    before = {record.label: record for record in small.store().records()}
    key = before["finetune"].key
    results = small.folder / "results"
    (small.store().run_folder(key) / "record.json").write_text("{")  # also one that is damaged
    gc.disable()  # as `harness` does at its start
    assert rerun_runs(str(small.path), [key[:10]], ONE, [], results, quiet=False) == 0
    assert gc.isenabled(), "training leaves reference cycles"
    after = {record.label: record for record in small.store().records()}
    assert after["logit_kd"] == before["logit_kd"]
    assert after["finetune"].provenance.ended >= before["finetune"].provenance.ended
    assert after["finetune"].score == before["finetune"].score
    (old,) = (small.store().folder / "set-aside").glob(f"*/runs/{key}/record.json")
    assert old.read_text() == "{"
    assert f"the old results are in {old.parents[2]}" in capsys.readouterr().err


def test_rerun_does_not_continue_from_a_checkpoint_that_a_kill_has_left(small, caplog):
    small.finished(*ONE)
    key = small.store().records()[0].key
    (checkpoint := small.store().checkpoint(key)).parent.mkdir(exist_ok=True)
    checkpoint.write_text("a state, which would be read")
    assert rerun_runs(str(small.path), [key], ONE, [], small.folder / "results", quiet=True) == 0
    assert not [message for message in caplog.messages if "checkpoint" in message]
    assert not checkpoint.exists()


def test_rerun_that_is_refused_sets_nothing_aside(small, monkeypatch):
    run(small, *ONE)
    keys = {record.label: record.key for record in small.store().records()}
    key = keys["finetune"]
    results = small.folder / "results"
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match="the tracker mlflow needs a package"):
        rerun_runs(str(small.path), [key], [*ONE, "tracking=[mlflow]"], [], results, quiet=True)
    other_run = small.store().run_folder(keys["logit_kd"])
    (teacher,) = (small.store().folder / "teachers").iterdir()
    for damaged in (other_run / "record.json", teacher / "record.json"):
        content = damaged.read_bytes()
        damaged.write_text("{")
        with pytest.raises(UserError, match=r"record\.json: is not valid JSON"):
            rerun_runs(str(small.path), [key], ONE, [], results, quiet=True)
        damaged.write_bytes(content)
    with Claims() as other:
        other.take(small.store().folder / "process-1", "run of small")
        with pytest.raises(UserError, match=r"works in this folder \(run of small\); wait until it has ended"):
            rerun_runs(str(small.path), [key], ONE, [], results, quiet=True)
    unusable = Problem("onnx is not installed", "latency")
    monkeypatch.setattr(latency_measurement, "check_section", Mock(side_effect=UserError(unusable)))
    with pytest.raises(UserError, match="onnx is not installed"):
        rerun_runs(str(small.path), [key], ONE, [], results, quiet=True)
    assert small.store().record(key).status == "completed"
    assert not (small.store().folder / "set-aside").exists()


@pytest.mark.parametrize("folder", ["tuning", "failures"])
def test_rerun_reads_all_that_the_training_reads_before_anything_is_moved(small, folder):
    sets = ["tuning={trials: 2}", "methods=[finetune]", "seeds=[1]"]
    run(small, *sets)
    (record,) = small.store().records()
    damaged = small.store().folder / folder / f"{record.tuning.study if folder == 'tuning' else record.key}.json"
    damaged.parent.mkdir(exist_ok=True)
    damaged.write_text("{")
    with pytest.raises(UserError, match=r"json: is not valid JSON"):
        rerun_runs(str(small.path), [record.key], sets, [], small.folder / "results", quiet=True)
    assert small.store().record(record.key) == record
    assert not (small.store().folder / "set-aside").exists()


def test_keys_of_rerun_must_identify_a_run():
    keys = ["abc1", "abd2", "xyz3"]
    assert matching(["x", "abd", "xyz3"], keys, "quick") == ["xyz3", "abd2"]
    with pytest.raises(UserError) as caught:
        matching(["ab", "q"], keys, "quick")
    first, second = str(caught.value).splitlines()
    assert "'ab' is the beginning of 2 keys" in first
    assert "no run of the suite has a key that begins with 'q'; `harness plan quick --json` lists the keys" in second


def planned(small, capsys, *overrides, as_json=True, workers=1):
    results = small.folder / "results"
    plan_suite(str(small.path), overrides, [], results, workers=workers, as_json=as_json)
    output = capsys.readouterr().out
    return {job["title"]: job for job in json.loads(output)["jobs"]} if as_json else output


def test_plan_shows_jobs_with_their_states(small, capsys):
    jobs = planned(small, capsys, *ONE)
    teacher, outputs = jobs["teacher base on order"], jobs["outputs of teacher base on order"]
    (cohort,) = [job for job in jobs.values() if job["kind"] == "cohort"]
    assert (teacher["state"], outputs["state"], cohort["state"]) == ("ready", "waiting", "waiting")
    assert outputs["waits_for"] == [teacher["key"]]
    assert set(cohort["waits_for"]) == {teacher["key"], outputs["key"]}
    assert cohort["memory_gb"] > 0
    assert cohort["estimated_seconds"] > 0
    text = planned(small, capsys, *ONE, as_json=False)
    assert "waits for teacher base on order" in text
    (job,) = small.plan(*ONE).teachers
    with Claims() as other:
        other.take(teacher_runs.cached(job).path, "teacher")
        assert planned(small, capsys, *ONE)["teacher base on order"]["state"] == "claimed"
        assert "claimed by process" in planned(small, capsys, *ONE, as_json=False)
    run(small, *ONE)
    capsys.readouterr()
    assert planned(small, capsys, *ONE)["teacher base on order"]["state"] == "done"
    assert "Jobs:" not in planned(small, capsys, *ONE, as_json=False)


def test_plan_shows_how_workers_would_share_the_jobs(small, capsys):
    jobs = planned(small, capsys, "training.epochs=100", workers=2)
    cohorts = [job for job in jobs.values() if job["kind"] == "cohort"]
    assert {job["worker"] for job in cohorts} == {0, 1}
    assert "2 workers" in planned(small, capsys, "training.epochs=100", as_json=False, workers=2)
