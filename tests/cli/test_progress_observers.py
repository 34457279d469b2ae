"""Progress output: plain lines, JSON lines, bars. Names and errors are plain text, not markup."""

import io
import json

import pytest
from rich.console import Console

from harness.api.events import Preparing, RunFailed, RunFinished, RunId, RunStarted, StepLogged
from harness.cli.live_progress import LiveProgress
from harness.cli.progress_observers import JsonLines, PlainLines, Silent, observer
from harness.plugin_host.host import Host

RUN = RunId("k1", "sst2", "tinybert[kl]", "4x312", 1)
TEACHER = RunId("k0", "sst2", "base", "", 1, role="teacher")


def notify_run(host: Host, run: RunId = RUN, fails: bool = False) -> None:
    host.notify("harness_run_started", RunStarted(run, 0, 100, 3))
    losses = {"loss": 0.5, "ce": 0.25, "attention": float("nan"), "c": 1.0, "d": 2.0}
    host.notify("harness_step", StepLogged(run, "all", 50, 100, losses, 1e-3))
    if fails:
        host.notify("harness_run_failed", RunFailed(run, 50, "step 50 (all): ValueError: loss is [bold]NaN[/]"))
    else:
        host.notify("harness_run_finished", RunFinished(run, 0.91234, {"accuracy": 0.91234}, 125.4))


@pytest.fixture
def host():
    return Host()


def test_plain_lines(host, capsys):
    host.add_observer(PlainLines(2))
    notify_run(host, TEACHER)
    notify_run(host)
    notify_run(host, fails=True)
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "started  teacher base on sst2: 100 steps, in a cohort of 3",
        "finished teacher base on sst2: 0.9123 in 2.1 min",
        "started  sst2 tinybert[kl] 4x312 seed 1: 100 steps, in a cohort of 3",
        "finished sst2 tinybert[kl] 4x312 seed 1: 0.9123 in 2.1 min [1/2]",
        "started  sst2 tinybert[kl] 4x312 seed 1: 100 steps, in a cohort of 3",
        "failed   sst2 tinybert[kl] 4x312 seed 1: step 50 (all): ValueError: loss is [bold]NaN[/] [2/2]",
    ]


def test_a_resumed_run_names_its_step(host, capsys):
    host.add_observer(PlainLines(1))
    host.notify("harness_run_started", RunStarted(RUN, 40, 100, 1))
    assert capsys.readouterr().err.endswith("100 steps, resumed at step 40\n")


def notify_preparing(host, ended=100, total=100):
    for done in (0, 50):
        host.notify("harness_preparing", Preparing("outputs of [base]", "batches", done, total, done / 10))
    host.notify("harness_preparing", Preparing("outputs of [base]", "batches", ended, total, 12.0, ended=True))


@pytest.mark.parametrize(
    ("ended", "total", "last"),
    [
        (100, 100, "prepared outputs of [base] in 12.0 s"),
        (70, None, "prepared outputs of [base] in 12.0 s"),
        (70, 100, "stopped  outputs of [base]: 70 of 100 batches"),
    ],
)
def test_plain_lines_of_preparation(host, capsys, ended, total, last):
    host.add_observer(PlainLines(1))
    notify_preparing(host, ended, total)
    assert capsys.readouterr().err.splitlines() == ["preparing outputs of [base]", last]


def test_live_bars_of_preparation(host):
    progress, screen = live_progress(host, 1)
    host.notify("harness_preparing", Preparing("outputs of [base]", "batches", 0, 100, 0.0))
    host.notify("harness_preparing", Preparing("outputs of [base]", "batches", 50, 100, 5.0))
    host.notify("harness_preparing", Preparing("training data", "rows", 7, None, 5.0))
    progress._progress.console.print(progress._progress.get_renderable())
    assert "50/100" in screen.getvalue()
    assert "7 rows" in screen.getvalue()
    host.notify("harness_preparing", Preparing("outputs of [base]", "batches", 100, 100, 12.0, ended=True))
    host.notify("harness_preparing", Preparing("training data", "rows", 9, None, 12.0, ended=True))
    assert "prepared outputs of [base] in 12.0 s" in screen.getvalue()
    assert [task.description for task in progress._progress.tasks] == ["all runs"]


def test_quiet_shows_failures_only(host, capsys):
    host.add_observer(Silent())
    notify_run(host)
    assert capsys.readouterr() == ("", "")
    notify_run(host, fails=True)
    assert "ValueError" in capsys.readouterr().err


def test_json_lines(host, capsys):
    host.add_observer(JsonLines())
    notify_preparing(host)
    assert [json.loads(line)["done"] for line in capsys.readouterr().out.splitlines()] == [0, 50, 100]
    notify_run(host)
    notify_run(host, fails=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = ["run_started", "step", "run_finished", "run_started", "step", "run_failed"]
    assert [line["event"] for line in lines] == kinds
    assert lines[1]["run"] == {
        "key": "k1",
        "task": "sst2",
        "label": "tinybert[kl]",
        "student": "4x312",
        "seed": 1,
        "role": "student",
        "trial": None,
    }
    assert lines[1]["losses"]["ce"] == 0.25
    assert lines[1]["losses"]["attention"] is None
    assert lines[2]["score"] == 0.91234
    assert all(line["time"].endswith("+00:00") for line in lines)


def live_progress(host: Host, runs: int) -> tuple[LiveProgress, io.StringIO]:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, markup=False, highlight=False)
    progress = LiveProgress(console, runs)
    host.add_observer(progress)
    return progress, console.file


def test_live_bars_show_each_run_and_the_total(host):
    progress, screen = live_progress(host, 2)
    host.notify("harness_run_started", RunStarted(RUN, 0, 100, 2))
    host.notify("harness_step", StepLogged(RUN, "all", 50, 100, {"loss": 0.5, "ce": 0.25}, 1e-3))
    progress._progress.console.print(progress._progress.get_renderable())
    output = screen.getvalue()
    assert "sst2 tinybert[kl] 4x312 seed 1" in output
    assert "50/100" in output
    assert "loss 0.500  ce 0.250" in output
    assert "0/2" in output
    overall = progress._progress.tasks[0]
    assert overall.percentage == 25


def test_live_prints_a_line_for_each_ended_run(host):
    progress, screen = live_progress(host, 2)
    with progress:
        notify_run(host, TEACHER)
        notify_run(host)
        notify_run(host, fails=True)
    output = screen.getvalue()
    assert "0.9123 in 2.1 min" in output
    assert "loss is [bold]NaN[/]" in output
    assert "2/2" in output
    assert [task.description for task in progress._progress.tasks] == ["all runs"]


def test_live_handles_a_run_that_fails_before_it_starts(host, caplog):
    _, screen = live_progress(host, 1)
    host.notify("harness_run_failed", RunFailed(RUN, 0, "MemoryError"))
    assert "MemoryError" in screen.getvalue()
    assert not caplog.records


@pytest.mark.parametrize(
    ("json_logs", "quiet", "kind"), [(True, False, JsonLines), (False, True, Silent), (False, False, PlainLines)]
)
def test_observer_without_a_terminal(json_logs, quiet, kind):
    with observer(1, json_logs=json_logs, quiet=quiet) as progress:
        assert isinstance(progress, kind)
