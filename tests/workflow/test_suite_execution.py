"""Running a suite from Python, and reading its results as data frames."""

import json
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import harness
import harness.reporting
from harness import hookimpl
from harness.execution.active_processes import board
from harness.execution.claims import Claims
from harness.workflow.suite_command import suite_command
from harness.workflow.suite_execution import SuiteExecution
from harness.workflow.suite_loading import load_suite, plan_loaded
from tests.support.patience import PATIENCE

METHODS = {"methods": ["finetune", "logit_kd"]}


def test_the_command_of_a_suite_is_quoted_and_leaves_out_the_default_folder():
    assert suite_command("glue", (), (), Path("results")) == "harness run glue"
    given = suite_command("a b.yaml", ["x=[1]"], [Path("my plugin.py"), "other"], "./results")
    assert given == "harness run 'a b.yaml' --set 'x=[1]' --plugin 'my plugin.py' --plugin other"


class Recorder:
    def __init__(self):
        self.finished, self.steps, self.active = [], 0, set()

    @hookimpl
    def harness_suite_started(self, event):
        self.folder = Path(event.folder)

    @hookimpl
    def harness_step(self, event):
        self.steps += 1
        self.active |= {path.name for path in self.folder.glob("process-*.claim")}

    @hookimpl
    def harness_run_finished(self, event):
        self.finished.append((event.run.role, event.run.label, event.run.seed))


@pytest.fixture
def executed(small):
    recorder = Recorder()
    results = small.folder / "results"
    options = harness.RunOptions(track=["json"])
    return harness.run(small.path, overrides=METHODS, results=results, observers=[recorder], options=options), recorder


def test_run_trains_what_is_missing_and_reports_it(small, executed):
    result, recorder = executed
    assert result.successful
    assert result.folder == small.folder / "results" / "small"
    results = small.folder / "results"
    command = f"""harness run {small.path} --set 'methods=["finetune", "logit_kd"]' --results {results}"""
    assert small.store().plan().command == command
    assert (result.folder / "leaderboard.md").read_text() == result.report.markdown
    students = [(label, seed) for role, label, seed in recorder.finished if role == "student"]
    assert sorted(students) == [(label, seed) for label in ("finetune", "logit_kd") for seed in (1, 2)]
    assert recorder.steps > 0
    assert len(recorder.active) == 1, "it announces itself while it trains"
    assert not list(result.folder.glob("*.claim"))

    again = Recorder()
    assert harness.run(small.path, overrides=METHODS, results=small.folder / "results", observers=[again]).successful
    assert not again.finished

    check_results(small, harness.load_results(result.folder))
    check_tracked(result.folder)


def check_tracked(folder):
    lines = [json.loads(line) for line in (folder / "tracking/json/events.jsonl").read_text().splitlines()]
    assert [lines[0]["event"], lines[-1]["event"]] == ["suite_started", "suite_ended"]
    assert (lines[0]["runs"], lines[-1]["exit_code"]) == (4, 0)
    assert str(folder / "leaderboard.md") in lines[-1]["files"]
    jobs = [line for line in lines if line["event"] == "jobs_ended"]
    assert jobs[-1]["ended"] == jobs[-1]["total"] == len(jobs)
    runs = [line for line in lines if line["event"] == "run_started" and line["run"]["role"] == "student"]
    assert len(runs) == 4
    for run in runs:
        assert run["settings"]["method"]["name"] == run["run"]["label"]
        assert run["settings"]["seed"] == run["run"]["seed"]
    assert all(line["settings"] for line in lines if line["event"] == "run_started")


def check_results(small, results):
    runs = results.runs
    assert len(runs) == 4
    for run, record in zip(runs.to_dict("records"), (small.store().record(key) for key in runs.key), strict=True):
        assert (run["label"], run["seed"], run["score"]) == (record.label, record.seed, record.score)
        assert run["metric_accuracy"] == record.metrics["accuracy"]
        assert run["parameters"] == record.size.parameters
        assert pd.read_parquet(f"{run['folder']}/predictions.parquet").shape[0] > 0
    assert results.teachers.teacher.tolist() == ["base"]

    predictions = results.predictions(label="logit_kd", seed=2)
    assert set(predictions.label) == {"logit_kd"}
    (score,) = runs[(runs.label == "logit_kd") & (runs.seed == 2)].score
    assert np.isclose((predictions.prediction == predictions.answer).mean(), score)
    assert predictions.scores.map(len).eq(2).all()
    assert len(results.predictions()) == 4 * len(predictions)

    (pair,) = results.comparisons.to_dict("records")
    means = 100 * runs.groupby("label").score.mean()
    assert np.isclose(pair["difference"], means[pair["label"]] - means[pair["other_label"]])
    assert pair["low"] <= pair["difference"] <= pair["high"]
    assert set(results.board[results.board.role == "student"].label) == {"finetune", "logit_kd"}
    assert results.latency.empty

    with pytest.raises(harness.UserError, match="unknown column 'labels'"):
        results.predictions(labels="finetune")
    with pytest.raises(harness.UserError, match="no completed run matches label='pkd'"):
        results.predictions(label="pkd")


def execution(small, *only):
    loaded = load_suite(small.path, overrides={"methods": ["finetune"]})
    options = harness.RunOptions(only=only)
    return SuiteExecution(plan_loaded(loaded), small.store(), loaded.host, options, "harness run")


def test_a_board_that_another_process_writes_gets_the_results_that_were_stored_meanwhile(small, monkeypatch):
    """The other process has read the results when this one stores its own."""
    lines, said = [], threading.Event()

    def say(line):
        lines.append(line)
        said.set()

    def report_slowly(folder, host):
        written = report(folder, host)
        if not executions:
            executions.append(pool.submit(execution(small, "seed=2").execute, say=say))
            assert said.wait(PATIENCE)
        return written

    report, executions = harness.reporting.report, []
    monkeypatch.setattr(harness.reporting, "report", report_slowly)
    with ThreadPoolExecutor() as pool:
        first = execution(small, "seed=1").execute()
    (line,) = lines
    assert re.fullmatch(rf"waiting for process {os.getpid()} on .*, which writes the board of small", line)
    assert "INCOMPLETE" in first.report.markdown
    last = executions[0].result()
    assert last.exit_code == 0
    assert "INCOMPLETE" not in last.report.markdown
    assert (small.store().folder / "leaderboard.md").read_text() == last.report.markdown


def test_a_process_that_waits_for_the_board_can_be_interrupted(small):
    """Observers receive the exit code of the process."""

    class Ends:
        @hookimpl
        def harness_run_finished(self, event):
            board_claim.take(board(small.store().folder), "board of small")

        @hookimpl
        def harness_suite_ended(self, event):
            self.code = event.exit_code

    def interrupt(line):
        raise KeyboardInterrupt  # as Ctrl-C does

    small.run("methods=[finetune]", "seeds=[1]")
    observer = Ends()
    with Claims() as board_claim, pytest.raises(KeyboardInterrupt):
        execution(small).execute([observer], interrupt)
    assert observer.code == 130
    assert len(small.store().records()) == 2


def test_a_second_report_of_the_same_results_writes_and_measures_nothing(small, monkeypatch):
    small.finished("methods=[finetune]", "seeds=[1]")
    overrides = {"methods": ["finetune"], "seeds": [1], "latency": LATENCY}
    harness.run(small.path, overrides=overrides, results=small.folder / "results")
    files = [path for path in small.store().folder.rglob("*") if path.is_file() and path.name != "plan.json"]
    before = {path: path.stat().st_mtime_ns for path in files}
    monkeypatch.setattr("harness.latency.suite_latency.measure", pytest.fail)
    result = harness.run(small.path, overrides=overrides, results=small.folder / "results")
    assert result.report.markdown == (result.folder / "leaderboard.md").read_text()
    assert {path: path.stat().st_mtime_ns for path in files} == before


LATENCY = {"lengths": [8], "backends": ["eager"], "rounds": 2, "warmup": 1, "threads": 1, "memory": False}


def test_a_failed_run_is_a_result_not_an_exception(small):
    broken = "from harness import hookimpl\n" + BROKEN
    (small.folder / "broken.py").write_text(broken)
    overrides = {"methods": ["finetune", "broken"], "seeds": [1]}
    result = harness.run(
        small.path, overrides=overrides, plugins=[small.folder / "broken.py"], results=small.folder / "results"
    )
    assert not result.successful
    (failure,) = result.failed
    assert "no loss today" in failure.error
    runs = harness.load_results(result.folder).runs
    assert dict(zip(runs.label, runs.status, strict=True)) == {"finetune": "completed", "broken": "failed"}


BROKEN = """
from harness import Method, MethodConfig, Needs, Stage


class Broken(Method):
    name = "broken"
    teachers = 0

    class Config(MethodConfig):
        pass

    def stages(self):
        return [Stage("train", needs=Needs())]

    def losses(self, step, batch, student, teachers):
        raise ValueError("no loss today")


@hookimpl
def harness_register_methods(register):
    register(Broken)
"""


def test_options_are_checked_before_anything_is_trained(small):
    with pytest.raises(harness.UserError, match="unknown engine 'locl'"):
        harness.run(small.path, results=small.folder / "results", options=harness.RunOptions(engine="locl"))
    assert not (small.folder / "results").exists()


ENGINES = """
from harness import hookimpl

def broken(execution):
    raise RuntimeError("no cluster")

def early(execution):
    with execution.jobs() as jobs:
        jobs.build_one(jobs.ready())

def hasty(execution):
    with execution.jobs() as jobs:
        first = jobs.ready()
        jobs.build_one(first)
        jobs.build_one(first)

def twice(execution):
    for _ in range(2):
        with execution.jobs():
            pass

@hookimpl
def harness_register_engines(register):
    for engine in (broken, early, hasty, twice, exit):
        register(engine.__name__ if engine is not exit else "exit", engine)
    register("silent", lambda execution: None)
"""


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("broken", "engine 'broken' failed: RuntimeError: no cluster"),
        ("silent", r"engine 'silent' failed: RuntimeError: it returned without a call of execution\.jobs\(\)"),
        ("early", r"it returned before 1 job had ended, such as 'finetune on 1x32, order, seed 1'"),
        ("hasty", r"engine 'hasty' failed: ValueError: the job 'teacher/.*' is not ready"),
        ("twice", r"engine 'twice' failed: RuntimeError: execution\.jobs\(\) was called twice"),
        ("exit", r"engine 'exit' failed: SystemExit"),
    ],
)
def test_a_fault_of_an_engine_is_an_error_with_its_name(small, engine, words):
    plugin = small.folder / "engines.py"
    plugin.write_text(ENGINES, encoding="utf-8")
    options, overrides = harness.RunOptions(engine=engine), {"methods": ["finetune"], "seeds": [1]}
    with pytest.raises(harness.UserError, match=words) as caught:
        harness.run(
            small.path, overrides=overrides, plugins=[plugin], results=small.folder / "results", options=options
        )
    assert str(plugin) in str(caught.value)


def test_latency_of_checkpoints_is_a_data_frame(small, tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    for layers in (1, 2):
        config = BertConfig(
            vocab_size=50, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32
        )
        BertForSequenceClassification(config).save_pretrained(tmp_path / f"layers-{layers}")
    settings = {"batch_sizes": [1], "lengths": [8], "backends": ["eager"], "threads": 1, "rounds": 2, "memory": False}
    frame = harness.measure_latency(
        [tmp_path / "layers-2", tmp_path / "layers-1"],
        overrides={"latency": settings, "device": "cpu"},
        results=tmp_path / "results",
    )
    assert {str(tmp_path / "layers-2"), str(tmp_path / "layers-1")} <= set(frame.model)
    assert (frame.p50 > 0).all()
    assert frame.parameters.nunique() == 2
