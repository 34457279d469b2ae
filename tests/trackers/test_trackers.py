"""Trackers record real files: JSON lines, TensorBoard event files, an MLflow database, offline runs of wandb."""

import io
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import hookimpl
from harness.api.errors import UserError
from harness.api.events import (
    EpochScore,
    EpochScored,
    RunFailed,
    RunFinished,
    RunId,
    RunStarted,
    StepLogged,
    SuiteEnded,
    SuiteStarted,
)
from harness.api.tracker import RunObserver
from harness.plugin_host.host import Host
from harness.trackers.json_lines import JsonLines
from harness.workflow import suite_trackers

FIRST, SECOND = (RunId(f"k{seed}aaaaaaaaaa", "sst2", "tinybert-kl", "4x312", seed) for seed in (1, 2))
TEACHER = RunId("t1", "sst2", "base", "", 1, role="teacher")
SETTINGS = {"method": {"name": "tinybert", "options": {"temperature": 2.0}}, "layers": [3, 6]}


@pytest.fixture
def host():
    return Host.create()


def started(folder):
    return SuiteStarted("glue", str(folder), 3, 0, "harness run glue", {FIRST.key: SETTINGS})


def open_tracker(host, name, folder):
    for title, observer in suite_trackers.create([name], host, folder / "tracking").items():
        host.add_observer(observer, title)
    host.notify("harness_suite_started", started(folder))


def train(host, folder):
    """Events of a suite: a teacher, and a cohort of two runs of which the second fails."""
    host.notify("harness_run_started", RunStarted(TEACHER, 0, 10, 1))
    host.notify("harness_step", StepLogged(TEACHER, "finetune", 10, 10, {"loss": 0.4, "task": 0.4}, 1e-5))
    host.notify("harness_run_finished", RunFinished(TEACHER, 0.92, {"accuracy": 0.92}, 3.0))
    for run in (FIRST, SECOND):
        host.notify("harness_run_started", RunStarted(run, 0, 100, 2))
    for step, loss in ((50, 0.5), (100, 0.25)):
        for run in (FIRST, SECOND):
            value = loss if run == FIRST else math.nan
            host.notify("harness_step", StepLogged(run, "all", step, 100, {"loss": value, "kd": 2.0}, 1e-3))
    host.notify("harness_epoch_scored", EpochScored(FIRST, EpochScore(step=100, epoch=1.0, score=0.75)))
    host.notify("harness_run_failed", RunFailed(SECOND, 100, "step 100 (all): ValueError: loss is NaN"))
    host.notify("harness_run_finished", RunFinished(FIRST, 0.9, {"accuracy": 0.9, "f1": 0.8}, 12.5))
    host.notify("harness_suite_ended", SuiteEnded("glue", str(folder), 3, 1, 1, ("leaderboard.md",)))


def interrupt_and_continue(name, folder):
    """Events of two processes: the first is interrupted after step 50, the second continues from the checkpoint."""
    for first in (True, False):
        host = Host.create()
        open_tracker(host, name, folder)
        host.notify("harness_run_started", RunStarted(FIRST, 0 if first else 40, 100, 1))
        step, loss = (50, 0.5) if first else (90, 0.25)
        host.notify("harness_step", StepLogged(FIRST, "all", step, 100, {"loss": loss}, 1e-3))
        if not first:
            host.notify("harness_run_finished", RunFinished(FIRST, 0.9, {}, 12.5))
        host.notify("harness_suite_ended", SuiteEnded("glue", str(folder), 1, 0, 130 if first else 0))


def test_json_lines(host, tmp_path):
    open_tracker(host, "json", tmp_path)
    train(host, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "tracking/json/events.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines[:2]] == ["suite_started", "run_started"]
    assert lines[0]["command"] == "harness run glue"
    by_run = [line for line in lines if line.get("run", {}).get("key") == FIRST.key]
    assert [line["event"] for line in by_run] == ["run_started", "step", "step", "epoch_scored", "run_finished"]
    assert by_run[0]["settings"] == SETTINGS
    assert (by_run[3]["score"], by_run[3]["epoch"], by_run[3]["step"]) == (0.75, 1.0, 100)
    (nan,) = {line["losses"]["loss"] for line in lines if line["event"] == "step" and line["run"]["seed"] == 2}
    assert nan is None
    assert (lines[-1]["event"], lines[-1]["exit_code"], lines[-1]["files"]) == ("suite_ended", 1, ["leaderboard.md"])


def test_the_docs_describe_every_json_event():
    page = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text(encoding="utf-8")
    described = re.findall(r"^\| `(\w+)` \|", page.split("## JSON logs\n")[1], flags=re.M)
    written = [name.removeprefix("harness_") for name in vars(JsonLines) if name.startswith("harness_")]
    assert sorted(described) == sorted(["event", *written])  # the first is the head of the table


def test_a_json_line_of_any_length_is_written_at_once(host, tmp_path, monkeypatch):
    """So lines of processes that share a suite never mix."""
    written = []

    class File(io.RawIOBase):
        def writable(self):
            return True

        def write(self, content):
            written.append(bytes(content))
            return len(content)

    def opened(path, mode, buffering=-1, encoding=None):
        return File() if buffering == 0 else io.TextIOWrapper(io.BufferedWriter(File()), encoding, line_buffering=True)

    monkeypatch.setattr(Path, "open", opened)
    (tracker,) = suite_trackers.create(["json"], host, tmp_path).values()
    for length in (10, 9_000, 100_000):
        tracker.write("note", {"text": "ä" * length})
    assert [len(json.loads(line)["text"]) for line in written] == [10, 9_000, 100_000]
    assert all(line.endswith(b"}\n") for line in written)


def scalars(folder):
    """The scalars of a run's event files, as TensorBoard reads them: name -> [(step, value), ...]."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder)).Reload()
    names = events.Tags()["scalars"]
    return {name: [(point.step, pytest.approx(point.value)) for point in events.Scalars(name)] for name in names}


def test_tensorboard(host, tmp_path):
    pytest.importorskip("tensorboard")
    open_tracker(host, "tensorboard", tmp_path)
    train(host, tmp_path)
    runs = {path.parent.relative_to(tmp_path / "tracking/tensorboard") for path in tmp_path.rglob("*tfevents*")}
    assert {str(run) for run in runs} == {
        "sst2/tinybert-kl/4x312/1-k1aaaaaa",
        "sst2/tinybert-kl/4x312/2-k2aaaaaa",
        "sst2/base/teacher/1-t1",
    }
    written = scalars(tmp_path / "tracking/tensorboard/sst2/tinybert-kl/4x312/1-k1aaaaaa")
    assert written["loss/total"] == [(50, 0.5), (100, 0.25)]
    assert written["loss/kd"] == [(50, 2.0), (100, 2.0)]
    assert written["lr"] == [(50, 1e-3), (100, 1e-3)]
    assert written["epoch/score"] == [(100, 0.75)]
    assert written["result/score"] == [(100, 0.9)]
    assert written["result/f1"] == [(100, 0.8)]


def test_tensorboard_hides_the_steps_after_a_checkpoint(tmp_path, monkeypatch):
    """It reads files in the order of their names: seconds, process, number of the file in its process as text."""
    writers = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    monkeypatch.setattr(writers, "_global_uid", writers.AtomicCounter(0))
    interrupt_and_continue("tensorboard", tmp_path)
    (folder,) = {path.parent for path in tmp_path.rglob("*tfevents*")}
    assert scalars(folder)["loss/total"] == [(90, 0.25)]


def mlflow_runs(folder):
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'tracking/mlflow/mlflow.db'}")
    experiment = client.get_experiment_by_name("glue")
    return client, {run.data.tags["harness.key"]: run for run in client.search_runs([experiment.experiment_id])}


def test_mlflow(host, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    open_tracker(host, "mlflow", tmp_path)
    train(host, tmp_path)
    client, runs = mlflow_runs(tmp_path)
    assert {key: run.info.status for key, run in runs.items()} == {
        FIRST.key: "FINISHED",
        SECOND.key: "FAILED",
        "t1": "FINISHED",
    }
    first = runs[FIRST.key]
    assert first.info.run_name == "sst2 tinybert-kl 4x312 seed 1"
    assert first.data.params["method.options.temperature"] == "2.0"
    assert first.data.params["layers"] == "[3, 6]"
    assert first.data.params["seed"] == "1"
    assert first.data.metrics["result/accuracy"] == 0.9
    history = client.get_metric_history(first.info.run_id, "loss/total")
    assert [(point.step, point.value) for point in history] == [(50, 0.5), (100, 0.25)]
    assert runs[SECOND.key].data.tags["harness.error"] == "step 100 (all): ValueError: loss is NaN"
    assert runs[FIRST.key].data.tags["harness.folder"] == str(tmp_path / "runs" / FIRST.key)

    second = Host.create()  # a later process: an interrupted run is continued, as the same run
    open_tracker(second, "mlflow", tmp_path)
    interrupted = RunId("k3", "rte", "pkd", "4x312", 1)
    for step in (0, 40):
        second.notify("harness_run_started", RunStarted(interrupted, step, 100, 1))
        second.notify("harness_step", StepLogged(interrupted, "all", step + 10, 100, {"loss": 0.5}, 1e-3))
        second.notify("harness_suite_ended", SuiteEnded("glue", "", 1, 0, 130))
        status = mlflow_runs(tmp_path)[1]["k3"].info.status
        assert status == "KILLED"
    history = client.get_metric_history(mlflow_runs(tmp_path)[1]["k3"].info.run_id, "loss/total")
    assert [point.step for point in history] == [10, 50]
    for _ in range(2):  # the second time in another cohort, as it was deferred before its first step
        second.notify("harness_run_started", RunStarted(RunId("k4", "rte", "pkd", "4x312", 1), 0, 100, 1))
    assert len(client.search_runs([first.info.experiment_id], "tags.`harness.key` = 'k4'")) == 1


def test_mlflow_records_every_name(host, tmp_path, monkeypatch, caplog):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    open_tracker(host, "mlflow", tmp_path)
    host.notify("harness_run_started", RunStarted(FIRST, 0, 100, 1))
    names = ["layer_weights.student[1]", "layer_weights.student(1)", "a//b/../c", "x" * 300, "größe: 1%"]
    losses = {"loss": 0.5} | {name: float(i) for i, name in enumerate(names)}
    for step in (50, 100):
        host.notify("harness_step", StepLogged(FIRST, "all", step, 100, losses, 1e-3))
    client, runs = mlflow_runs(tmp_path)
    metrics = runs[FIRST.key].data.metrics
    assert metrics["loss/layer_weights.student_1_"] == 0
    assert sorted(metrics.values()) == sorted([*losses.values(), 1e-3])
    points = [len(client.get_metric_history(runs[FIRST.key].info.run_id, name)) for name in metrics]
    assert points == [2] * len(metrics)
    assert "failed in" not in caplog.text


def test_wandb_offline(host, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    open_tracker(host, "wandb", tmp_path)
    train(host, tmp_path)
    wandb.teardown()  # its service closes the files of finished runs in its own time, and all of them before it ends
    files = sorted(path.name for path in tmp_path.rglob("run-*.wandb"))
    assert files == [f"run-{key}.wandb" for key in (FIRST.key, SECOND.key, "t1")]
    written = next(tmp_path.rglob(f"run-{FIRST.key}.wandb")).read_bytes()
    for text in (b"sst2 tinybert-kl 4x312 seed 1", b"loss/kd", b"epoch/score", b"accuracy", b"temperature"):
        assert text in written


@pytest.mark.parametrize(
    ("role", "trial", "place"),
    [
        ("student", None, "runs/k"),
        ("teacher", None, "teachers/k"),
        ("general", None, "general/k"),
        ("trial", 3, "tuning"),
    ],
)
def test_trackers_are_told_where_the_results_will_be(tmp_path, role, trial, place):
    told = []
    unused = dict.fromkeys(("log", "end_run", "end_suite"), pytest.fail)
    observer = RunObserver(SimpleNamespace(start_suite=lambda suite: None, start_run=told.append, **unused))
    observer.harness_suite_started(started(tmp_path))
    observer.harness_run_started(RunStarted(RunId("k", "sst2", "kd", "4x312", 1, role, trial), 0, 100, 1))
    assert [run.folder for run in told] == [tmp_path / place]


def test_an_exception_of_a_tracker_harms_no_run(host, tmp_path, caplog):
    class Broken:
        @hookimpl
        def harness_step(self, event):
            raise OSError("the server is gone")

    host.add_observer(Broken())
    open_tracker(host, "json", tmp_path)
    train(host, tmp_path)
    assert caplog.text.count("the server is gone") == 1
    assert "run_finished" in (tmp_path / "tracking/json/events.jsonl").read_text()


def test_a_warning_of_a_tracker_names_it_and_its_plugin(host, tmp_path, caplog):
    class Broken(Bare):
        def log(self, run, values, step):
            raise OSError("the server is gone")

        start_run = end_run = end_suite = lambda self, *values: None
        start_suite = end_suite

    for name in ("mine", "yours"):
        host.trackers[name], host._origins["tracker", name] = lambda folder: RunObserver(Broken(folder)), f"{name}.py"
        open_tracker(host, name, tmp_path)
    train(host, tmp_path)
    for name in ("mine", "yours"):
        assert f"harness_step failed in tracker '{name}' of {name}.py: OSError: the server is gone" in caplog.text


def refuse(folder):
    raise ConnectionError("no server at localhost:1")


class Bare:
    """A `Tracker` that is no observer."""

    def __init__(self, folder):
        self.folder = folder

    def start_suite(self, suite):
        raise AssertionError("never called")


class Misspelled:
    def __init__(self, folder):
        self.folder = folder

    @hookimpl
    def harness_stop(self, event):
        raise AssertionError("never called")


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (refuse, "tracker 'mine' cannot be created: ConnectionError: no server at localhost:1"),
        (Bare, "'mine' returned a Bare, which observes nothing; return an observer: .*RunObserver of a"),
        (lambda folder: None, "'mine' returned a NoneType, which observes nothing"),
        (
            lambda folder: RunObserver(Bare(folder)),
            "'mine' cannot be created: TypeError: Bare is no .*Tracker: it has no start_run, log, end_run",
        ),
        (lambda folder: RunObserver(Bare), "TypeError: expected a tracker, got the class Bare"),
        (Misspelled, "unknown hook 'harness_stop'; did you mean 'harness_step'"),
    ],
)
def test_a_fault_of_a_factory_is_an_error_with_the_trackers_name(host, tmp_path, factory, words):
    host.trackers["mine"], host._origins["tracker", "mine"] = factory, "mine.py"
    with pytest.raises(UserError, match=words) as caught:
        suite_trackers.create(["mine", "json"], host, tmp_path)
    assert "tracking: mine of mine.py" in str(caught.value)


def test_an_invalid_address_of_mlflow_is_an_error(host, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "localhost:5000")
    with pytest.raises(UserError, match=r"tracker 'mlflow' cannot be created: .*localhost:5000"):
        suite_trackers.create(["mlflow"], host, tmp_path)


def test_errors_name_the_remedy(host, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"):
        suite_trackers.create(["tensorbord"], host, tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(UserError, match=r"the tracker wandb needs a package: pip install 'kd-harness\[wandb\]'"):
        suite_trackers.create(["wandb"], host, tmp_path)
    assert len(suite_trackers.create(["json", "json"], host, tmp_path)) == 1
