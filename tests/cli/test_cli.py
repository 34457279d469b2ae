"""The command line: start-up time, one error message per problem, exit codes."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

import harness.planning
import harness.reporting
import harness.resolution
from harness import __version__
from harness.api.errors import Problem, UserError
from harness.api.events import RunFinished, RunId
from harness.cli import app, doctor_command
from harness.config.training_schema import TrainingSpec
from harness.execution import job_states
from harness.execution.outcome import Outcome
from harness.execution.plan_execution import PlanExecution
from harness.planning import CostEstimate, RunStatus, graph_builder
from harness.planning.job_graph import JobGraph
from harness.plugin_host.host import Host
from harness.reporting.board import Board
from harness.reporting.written_report import Report
from harness.storage.plan_file import PlanFile, PlannedRun
from harness.testing import conformance
from harness.testing.conformance import Check
from harness.testing.method_cases import CheckFailed
from tests.support.patience import PATIENCE
from tests.support.results_factory import run_record

HEAVY = {"torch", "transformers", "datasets", "evaluate", "pandas", "numpy", "pydantic", "yaml", "rich.progress"}
RUN = PlannedRun(
    key="k1", task="sst2", label="kd", method="kd", student="small", seed=1, teachers=["base"], teacher_seeds=[1]
)


def call(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def main(monkeypatch, *arguments: str) -> int:
    """Call `main` in this process with the arguments of a shell. Returns the exit code."""
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as exited:
        app.main()
    return int(exited.value.code or 0)


@pytest.fixture(autouse=True)
def garbage_collector(monkeypatch):
    """Keeps the garbage collector on: `main` turns it off for the rest of its process, which here runs the tests."""
    monkeypatch.setattr(app, "gc", SimpleNamespace(disable=lambda: None, freeze=lambda: None))


@pytest.fixture
def suite(monkeypatch, tmp_path):
    """A suite of one run with fake planning, execution and report; a test sets the outcome in the returned state."""
    state = SimpleNamespace(outcome=Outcome(), done=False, host=Host(), folder=tmp_path / "tiny", events=[])
    spec = SimpleNamespace(name="tiny", latency=None, tuning=None, device=None, tracking=(), training=TrainingSpec())
    loaded = SimpleNamespace(suite=SimpleNamespace(spec=spec, path=tmp_path / "tiny.yaml"), host=state.host)
    plan_file = {
        "suite": "tiny",
        "tasks": [{"name": "sst2", "kind": "classification", "score": "accuracy", "synthetic": False}],
        "students": ["small"],
        "labels": ["kd"],
        "teachers": {},
        "seeds": [1],
        "runs": [RUN],
    }
    planned = SimpleNamespace(
        spec=spec,
        file=lambda command: PlanFile(command=command, not_applicable=[], **plan_file),
        augmentations=lambda jobs: [],
        text_stages=lambda jobs: [],
        cache_decisions=(),
        teachers=(),
        data={},
        held_out={},
        truncated={},
        runs=[SimpleNamespace(planned=RUN, parts={"seed": 1}, teachers=(), space={})],
    )
    board = Board("tiny: leaderboard", (), (), (), (), (), ())

    def execute(execution: PlanExecution, engine: object) -> Outcome:
        execution.store.save(run_record(key=RUN.key))
        state.host.notify("harness_run_finished", RunFinished(RunId("k1", "sst2", "kd", "small", 1), 0.9, {}, 2.0))
        return state.outcome

    monkeypatch.setattr(harness.resolution, "load", lambda *a, **k: loaded)
    resolved = SimpleNamespace(suite=SimpleNamespace(tasks=()), cells=())
    monkeypatch.setattr(harness.resolution, "resolve", lambda *a, **k: resolved)
    monkeypatch.setattr(harness.planning, "build", lambda resolved: planned)
    monkeypatch.setattr(
        harness.planning,
        "status",
        lambda *a: [
            RunStatus(
                RUN,
                SimpleNamespace(planned=RUN, parts={}, teachers=(), space={}),
                state.done,
                "done" if state.done else "not run yet",
            )
        ],
    )
    monkeypatch.setattr(
        harness.planning,
        "estimate",
        lambda plan, jobs, tuning: CostEstimate(len(jobs), len(jobs), 40 * len(jobs), 40, 80, 0.1, 16.0, 3.2),
    )
    monkeypatch.setattr(graph_builder, "build", lambda *a, **k: JobGraph(()))
    monkeypatch.setattr(job_states, "job_states", lambda *a: [])
    state.host.engines = {"local": None}
    monkeypatch.setattr(PlanExecution, "run", execute)
    monkeypatch.setattr(
        harness.reporting, "report", lambda folder, host: Report(board, "# the board\n", (folder / "leaderboard.md",))
    )
    return state


def test_help_is_fast_and_imports_no_heavy_package():
    code = "import sys; sys.argv = ['harness', '--help']; from harness.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "harness.cli.app" in imported
    assert not imported & HEAVY
    before = os.times()
    call("--help")
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    assert seconds < 1.5  # of CPU: about 0.15 s on an idle machine


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["run"],
        ["plan"],
        ["rerun"],
        ["validate"],
        ["report"],
        ["compare"],
        ["merge"],
        ["latency"],
        ["list"],
        ["check"],
        ["doctor"],
    ],
)
def test_every_command_has_help(monkeypatch, capsys, command):
    assert main(monkeypatch, *command, "--help") == 0
    output = capsys.readouterr().out
    assert "Usage:" in output
    assert len(output.splitlines()) > 8


def test_without_a_command_help_is_shown(monkeypatch, capsys):
    assert main(monkeypatch) == 0
    assert "Exit codes" in capsys.readouterr().out


def test_version(monkeypatch, capsys):
    assert main(monkeypatch, "--version") == 0
    line = capsys.readouterr().out
    assert line.startswith(f"kd-harness {__version__} (python 3.")
    assert f"torch {metadata.version('torch')}" in line
    assert "device cpu" in line


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["run"], ["run", "a", "b"], ["list", "methodz"], ["run", "--sett"]]
)
def test_wrong_usage_exits_with_2(monkeypatch, capsys, arguments):
    assert main(monkeypatch, *arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["methods", "tasks", "suites", "plugins", "published"])
def test_list(monkeypatch, capsys, kind):
    assert main(monkeypatch, "list", kind) == 0
    expected = {
        "methods": "temperature=4.0",
        "tasks": "sst2",
        "suites": "glue.yaml",
        "plugins": "harness_plugins.tinybert (entry point 'harness_plugins'",
        "published": "https://arxiv.org/abs/1909.10351",
    }
    assert expected[kind] in capsys.readouterr().out


def test_the_first_sentence_of_a_suite_is_listed(monkeypatch, capsys):
    assert main(monkeypatch, "list", "suites") == 0
    about = dict(re.findall(r"^(\S+) +(.*?) {2,}/", capsys.readouterr().out, re.M))
    assert about["paper-distilbert"].endswith("its paper: Sanh et al. 2019, arXiv 1910.01108")
    assert about["minilm-glue"].endswith("with a teacher for each seed"), "a sentence of two lines"


def test_list_explains_the_options_of_a_method(monkeypatch, capsys):
    assert main(monkeypatch, "list", "methods", "tinybert") == 0
    head, teachers, _, titles, _, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("tinybert: attention, hidden states and embeddings first")
    assert teachers == "teachers: 1"
    assert titles.split("  ")[0] == "option"
    row_of_option = {row.split()[0]: row for row in rows}
    config = Host.create().methods["tinybert"].Config
    assert row_of_option.keys() == config.model_fields.keys()
    for name, field in config.model_fields.items():
        assert field.description in row_of_option[name]
    pattern = r"temperature +1\.0 +1 to 10, log +temperature of the prediction stage"
    assert re.match(pattern, row_of_option["temperature"])
    assert re.match(r"augment +false +train on", row_of_option["augment"])


def test_list_says_that_a_method_has_no_options(monkeypatch, capsys):
    assert main(monkeypatch, "list", "methods", "finetune") == 0
    assert capsys.readouterr().out.endswith("This method has no options.\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["methods", "tinybrt"], ["unknown method 'tinybrt'", "did you mean 'tinybert'?"]),
        (["tasks", "sst2"], ["`harness list tasks` takes no name", "found 'sst2'"]),
    ],
)
def test_list_rejects_unknown_methods_and_names_of_other_kinds(monkeypatch, capsys, arguments, words):
    assert main(monkeypatch, "list", *arguments) == 2
    message = capsys.readouterr().err
    assert [word for word in words if word not in message] == []


def test_each_problem_is_one_message_in_plain_text(monkeypatch, capsys):
    def load(*arguments: object, **options: object) -> None:
        raise UserError(Problem("there is no [bold]key[/]", "s.yaml:3"), "second\nwith a detail")

    monkeypatch.setattr(harness.resolution, "load", load)
    assert main(monkeypatch, "validate", "s.yaml") == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "error: s.yaml:3: there is no [bold]key[/]\nerror: second\n  with a detail\n"


def test_an_invalid_suite_exits_with_2_and_writes_nothing(tmp_path):
    (tmp_path / "bad.yaml").write_text("name: bad\ntasks: [sst3]\nstudent: {}\n")
    done = call("run", "bad.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "bad.yaml:2" in done.stderr
    assert "sst2" in done.stderr
    assert not (tmp_path / "results").exists()


def test_an_unwritable_results_folder_exits_with_2(suite, monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(monkeypatch, "run", "tiny.yaml", "--results", str(tmp_path / "file")) == 2
    assert f"error: {tmp_path / 'file'}" in capsys.readouterr().err


def test_an_internal_os_error_is_raised(suite, monkeypatch):
    def broken(*arguments: object) -> None:
        raise FileNotFoundError(2, "internal")

    monkeypatch.setattr(harness.planning, "build", broken)
    monkeypatch.setattr(sys, "argv", ["harness", "run", "tiny.yaml"])
    with pytest.raises(FileNotFoundError, match="internal"):
        app.main()


def test_a_broken_plugin_that_is_named_exits_with_2(tmp_path):
    (tmp_path / "mine.py").write_text("import no_such_module\n")
    done = call("list", "methods", "--plugin", "mine.py", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "mine.py:1: cannot be imported: ModuleNotFoundError" in done.stderr


@pytest.fixture
def install_guest(monkeypatch, tmp_path):
    """Installs a package with the entry point ``guest``, as pip would, and returns its module."""

    def install(source: str) -> Path:
        module = tmp_path / "guest_kd.py"
        module.write_text(source)
        info = tmp_path / "guest_kd-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guest-kd\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[harness]\nguest = guest_kd\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "guest_kd", raising=False)
        return module

    return install


FINETUNE = """
from harness import Method, Needs, Stage, hookimpl

class Mine(Method):
    name = "finetune"
    summary = "my own version"
    def stages(self): return [Stage("only", Needs(["logits"]))]
    def losses(self, step, batch, student, teachers): return {"zero": student.logits.sum() * 0}

@hookimpl
def harness_register_methods(register): register(Mine)
"""


def test_a_guest_with_the_name_of_a_shipped_method_stops_no_command(install_guest, monkeypatch, capsys, tmp_path):
    install_guest(FINETUNE)
    message = (
        "method 'finetune' is left out: harness_baselines.finetune (entry point 'harness_baselines' of kd-harness)"
    )
    for command in (["list", "methods"], ["list", "tasks"], ["validate", "quick"]):
        assert main(monkeypatch, *command) == 0
        output = capsys.readouterr()
        assert f"warning: plugin 'guest': {message} registers it, too (entry point 'guest' of guest-kd)" in output.err
        assert "my own version" not in output.out
    for command in (["list", "plugins"], ["doctor"]):
        assert main(monkeypatch, *command) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
        assert message in line
        assert "entry point 'guest' of guest-kd" in line


def test_a_path_takes_the_place_of_an_installed_method(install_guest, monkeypatch, capsys, tmp_path):
    install_guest(FINETUNE.replace('"finetune"', '"mine"').replace("my own version", "the installed version"))
    path = tmp_path / "development.py"
    path.write_text(FINETUNE.replace('"finetune"', '"mine"'))
    assert main(monkeypatch, "list", "methods", "--plugin", str(path)) == 0
    output = capsys.readouterr()
    assert "my own version" in output.out
    assert "the installed version" not in output.out
    assert (
        f"note: plugin 'guest': method 'mine' is overridden by {path} (entry point 'guest' of guest-kd)" in output.err
    )
    assert "warning" not in output.err


def test_a_broken_plugin_that_is_installed_is_a_warning(install_guest, monkeypatch, capsys):
    module = install_guest("1 / 0\n")
    assert main(monkeypatch, "list", "methods") == 0
    output = capsys.readouterr()
    assert "finetune" in output.out
    assert "warning: plugin 'guest' is not loaded: cannot be imported: ZeroDivisionError" in output.err
    assert f"({module}:1)" in output.err


def test_run_prints_the_board_and_the_paths_of_its_files(suite, monkeypatch, capsys, tmp_path):
    assert main(monkeypatch, "run", "tiny.yaml", "--results", str(tmp_path)) == 0
    output = capsys.readouterr()
    assert output.out.startswith("# tiny: leaderboard\n")
    assert output.out.endswith(f"\nFiles: {suite.folder / 'leaderboard.md'}\n")
    assert output.err.splitlines() == [
        f"tiny: 1 of 1 runs to train; results in {suite.folder}",
        "finished sst2 kd small seed 1: 0.9000 in 2.0 s [1/1]",
    ]
    plan = json.loads((suite.folder / "plan.json").read_text())
    assert plan["command"] == f"harness run tiny.yaml --results {tmp_path}"


@pytest.mark.parametrize(("workers", "processes"), [("2", "one more process"), ("4", "3 more processes")])
def test_run_says_that_it_starts_no_other_workers(suite, monkeypatch, capsys, tmp_path, workers, processes):
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    assert main(monkeypatch, "run", "tiny.yaml", "--results", str(tmp_path), "--workers", workers) == 0
    said = f"this process is one of {workers} workers; start the same command in {processes}"
    assert said in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("engine", ["mine", "ray"])
def test_an_engine_of_a_plugin_starts_no_other_workers_but_ray_does(suite, monkeypatch, capsys, tmp_path, engine):
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    suite.host.engines = {"local": None, "ray": None, "mine": None}
    arguments = ("--results", str(tmp_path), "--workers", "3", "--engine", engine)
    assert main(monkeypatch, "run", "tiny.yaml", *arguments) == 0
    said = "this process is one of 3 workers; start the same command in 2 more processes"
    assert (said in capsys.readouterr().err.splitlines()) == (engine == "mine")


def test_slurm_starts_the_other_workers(suite, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert main(monkeypatch, "run", "tiny.yaml", "--results", str(tmp_path)) == 0
    assert "workers" not in capsys.readouterr().err


def test_quiet_run(suite, monkeypatch, capsys, tmp_path):
    assert main(monkeypatch, "run", "tiny.yaml", "--quiet", "--results", str(tmp_path)) == 0
    assert capsys.readouterr().err == ""


def test_json_logs_are_all_of_stdout(suite, monkeypatch, capsys, tmp_path):
    assert main(monkeypatch, "run", "tiny.yaml", "--json-logs", "--results", str(tmp_path)) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["suite_started", "run_finished", "suite_ended"]
    assert lines[2] | {"time": ""} == {
        "event": "suite_ended",
        "time": "",
        "suite": "tiny",
        "folder": str(suite.folder),
        "runs": 1,
        "failed": 0,
        "exit_code": 0,
        "files": [str(suite.folder / "leaderboard.md")],
    }


def test_a_failed_run_exits_with_1_after_the_board(suite, monkeypatch, capsys, tmp_path):
    failed = SimpleNamespace(task="sst2", label="kd", student="small", seed=1, error="ValueError: loss is NaN")
    suite.outcome = Outcome(failed=[failed])
    assert main(monkeypatch, "run", "tiny.yaml", "--results", str(tmp_path)) == 1
    output = capsys.readouterr()
    assert "# tiny: leaderboard" in output.out
    assert "1 run failed" in output.err
    assert "ValueError: loss is NaN" in output.err


def test_an_interrupted_run_prints_the_command_that_resumes_it(suite, monkeypatch, capsys, tmp_path):
    suite.outcome = Outcome(interrupted=True)
    assert main(monkeypatch, "run", "tiny.yaml", "--results", str(tmp_path)) == 130
    output = capsys.readouterr()
    assert "# tiny: leaderboard" not in output.out
    assert f"harness run tiny.yaml --results {tmp_path}" in output.err


@pytest.mark.parametrize("done", [True, False])
def test_plan(suite, monkeypatch, capsys, tmp_path, done):
    suite.done = done
    assert main(monkeypatch, "plan", "tiny.yaml", "--results", str(tmp_path)) == 0
    output = capsys.readouterr().out
    assert ("not run yet" in output) is not done
    assert f"{int(done)} of 1 runs are done" in output
    assert ("trains the others" in output) is not done
    assert ("40 teacher forward passes (80 without cohorts)" in output) is not done
    assert (f"Disk: about 3.2 GB for the students of these runs, in {tmp_path / 'tiny'}" in output) is not done
    assert main(monkeypatch, "plan", "tiny.yaml", "--json", "--results", str(tmp_path)) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["to_do"]["runs"] == int(not done)
    (run,) = content["runs"]
    assert run["key"] == "k1"
    assert run["done"] is done


def failing(subject):
    raise CheckFailed("stage 'only': far is 1; elsewhere 2")


@pytest.mark.parametrize(("checks", "code"), [([lambda subject: ""], 0), ([lambda subject: "", failing], 1)])
def test_check(monkeypatch, capsys, checks, code):
    named = [Check(f"check {i}", check) for i, check in enumerate(checks)]
    monkeypatch.setattr(conformance, "checks", lambda: named)
    kinds = len(conformance.KINDS) - 1  # finetune has no stage on unlabelled text
    assert main(monkeypatch, "check", "finetune") == code
    output = capsys.readouterr().out
    assert output.splitlines()[-1] == f"{kinds} passed, {kinds * code} failed, 1 n/a"
    assert ("stage 'only': far is 1; elsewhere 2" in output) is bool(code)
    assert main(monkeypatch, "check", "finetune", "--json") == code
    content = json.loads(capsys.readouterr().out)
    assert content["ok"] is (code == 0)
    assert content["results"][0] == {
        "method": "finetune",
        "check": "check 0",
        "task": "classification",
        "status": "passed",
        "detail": "",
    }


def test_check_of_an_unknown_plugin_exits_with_2(monkeypatch, capsys):
    assert main(monkeypatch, "check", "finetun") == 2
    assert capsys.readouterr().err == (
        "error: there is no method, file or entry point 'finetun'; did you mean 'finetune'?\n"
    )


def test_doctor_shows_versions_device_cache_hub_and_plugins(monkeypatch, capsys):
    monkeypatch.setattr("harness.storage.hub.unavailable_reason", lambda *a: "connection refused")
    assert main(monkeypatch, "doctor") == 0
    output = capsys.readouterr().out
    for word in ("torch", "transformers", "python", "device", "cache", "not usable: connection refused", "methods"):
        assert word in output


def test_an_unwritable_cache_has_no_free_space_to_show(monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert doctor_command._cache().endswith(" (NOT WRITABLE: set HARNESS_CACHE)")


def test_ctrl_c_exits_with_130_without_a_traceback(tmp_path):
    (tmp_path / "slow.py").write_text("import time\nprint('waiting', flush=True)\ntime.sleep(3600)\n")
    child = subprocess.Popen(
        [sys.executable, "-m", "harness", "list", "methods", "--plugin", "slow.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As in a terminal. If the tests run in the background, SIGINT is ignored, and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert child.stdout.readline() == "waiting\n"
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130
    assert "Traceback" not in err


def chunks_of(terminal):
    """What a process writes to a terminal, until it ends: then Linux reports an error, and other systems nothing."""
    with suppress(OSError):
        while chunk := terminal.read(4096):
            yield chunk


def test_tables_are_drawn_in_a_terminal():
    outer, inner = pty.openpty()
    command = [sys.executable, "-m", "harness", "list", "suites"]
    child = subprocess.Popen(command, stdout=inner, stderr=inner, env={**os.environ, "COLUMNS": "200"})
    os.close(inner)
    with os.fdopen(outer, "rb", buffering=0) as terminal:
        output = b"".join(chunks_of(terminal)).decode()
    assert child.wait(timeout=PATIENCE) == 0
    assert "─" in output
    assert "glue" in output


def test_validate_loads_the_data_and_reports_invalid_labels(small, monkeypatch, capsys):
    plugin = small.folder / "order.py"
    text = plugin.read_text(encoding="utf-8")
    plugin.write_text(text.replace('"label": labels}', '"label": [*labels[:-1], 7]}'), encoding="utf-8")
    assert main(monkeypatch, "validate", str(small.path)) == 2
    errors = capsys.readouterr().err
    assert "error: task 'order', split 'train', column 'label', row 119 (id '119'): found 7, expected a class" in errors
    assert "split 'validation', column 'label', row 59" in errors
    assert "Traceback" not in errors


SHORT_RUN = ("run", "--set", "methods=[finetune]", "--set", "seeds=[1]", "--set", "training.epochs=0.1")


@pytest.mark.parametrize("command", [("validate",), ("plan",), SHORT_RUN])
def test_overlapping_training_and_validation_texts_are_a_warning(small, monkeypatch, capsys, command):
    monkeypatch.chdir(small.folder)
    plugin = small.folder / "order.py"
    text = plugin.read_text(encoding="utf-8")
    plugin.write_text(text.replace('"validation": examples(60, 2)', '"validation": examples(60, 1)'), encoding="utf-8")
    assert main(monkeypatch, *command, str(small.path)) == 0
    assert "warning: training and validation texts overlap: order: 60 of 60" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["10" * 40, r'"\ud800"'])
def test_numbers_and_texts_out_of_range_exit_with_2(small, monkeypatch, capsys, value):
    suite = small.path.read_text(encoding="utf-8")
    small.path.write_text(f"{suite}\nlatency: {{lengths: [{value}]}}\n", encoding="utf-8")
    assert main(monkeypatch, "validate", str(small.path)) == 2
    assert "small.yaml:" in capsys.readouterr().err
