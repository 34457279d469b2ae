"""Suites with a latency section, from file to tables, and checkpoints outside of a suite."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from transformers import BertConfig

from harness.api.errors import UserError
from harness.cli.app import main
from harness.config.latency_schema import LatencySpec
from harness.execution.active_processes import board
from harness.execution.claims import Claims
from harness.latency import suite_latency
from harness.plugin_host.host import Host
from harness.storage.hashing import key
from harness.workflow import latency_measurement

SECTION = (
    "latency={batch_sizes: [1, 2], lengths: [4, 8], backends: [eager], rounds: 8, warmup: 10, max_seconds: 20, "
    "memory: false}"
)
SETTINGS = ("methods=[finetune]", "seeds=[1]", SECTION)


@pytest.fixture
def harness(small, monkeypatch, capsys):
    """``harness("run", ...)`` returns the exit code and sets ``harness.out`` and ``harness.err``."""
    monkeypatch.chdir(small.folder)

    def call(command, *arguments, settings=SETTINGS):
        options = [f"--set={setting}" for setting in settings]
        monkeypatch.setattr("sys.argv", ["harness", command, *arguments, *options])
        with pytest.raises(SystemExit) as ended:
            main()
        call.out, call.err = capsys.readouterr()
        return int(ended.value.code or 0)

    return call


@pytest.fixture
def refuse_to_measure(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("measured again")

    return lambda: monkeypatch.setattr(suite_latency, "measure", refuse)


def test_a_suite_with_latency_from_run_to_board(small, harness, refuse_to_measure):
    assert harness("run", "small.yaml") == 0, harness.err
    assert "speed-up" in harness.out
    folder = small.store().folder
    (record,) = small.store().latencies()
    assert [(model.name, model.role) for model in record.models] == [
        ("base", "teacher"),
        ("1x32", "student"),
        ("1x32 (second copy)", "control"),
    ]
    (run,) = small.store().records()
    assert run.key in record.models[1].source
    assert record.models[1].parameters == run.size.parameters
    table = (folder / "latency.md").read_text()
    assert f"run `{run.key}` (order, finetune, seed 1)" in table
    rows = list(csv.DictReader((folder / "leaderboard.csv").open()))
    assert [row["role"] for row in rows if row["speed_up"]] == ["teacher", "student"]
    assert len(list(csv.DictReader((folder / "latency.csv").open()))) == 3 * 4

    files = {path: path.read_bytes() for path in folder.glob("*.*")}
    refuse_to_measure()
    assert harness("run", "small.yaml") == 0, harness.err
    assert harness("report", str(folder), settings=()) == 0
    assert {path: path.read_bytes() for path in folder.glob("*.*")} == files

    assert harness("run", "small.yaml", settings=[*SETTINGS[:2], "latency=null"]) == 0
    assert "0 of 1 runs to train" in harness.err
    assert "speed-up" in (folder / "leaderboard.md").read_text(), "what was measured stays on the board"
    shutil.rmtree(folder / "latency")
    assert harness("report", str(folder), settings=()) == 0
    assert "speed-up" not in (folder / "leaderboard.md").read_text()


def renamed(small):
    """The settings with another name for the teacher and the student."""
    teacher = yaml.safe_load((small.folder / "small.yaml").read_text())["teachers"]["base"]
    return [*SETTINGS, f"teachers={json.dumps({'best': teacher})}", "students={tiny: {layers: 1, init: uniform}}"]


@pytest.mark.parametrize("written", ["now", "by an older version"])
def test_a_measurement_is_found_by_other_names_of_its_models(small, harness, refuse_to_measure, written):
    assert harness("run", "small.yaml") == 0, harness.err
    store = small.store()
    (measured,) = store.latencies()
    if written == "by an older version":
        (store.folder / "latency" / f"{measured.key}.json").unlink()
        store.save_latency(measured.model_copy(update={"key": key(measured.parts)}))
    refuse_to_measure()
    assert harness("run", "small.yaml", settings=renamed(small)) == 0, harness.err
    assert "0 of 1 runs to train" in harness.err
    assert store.latency_keys() == [measured.key], "a measurement of an older version is replaced"
    record = store.latency(measured.key)
    assert [(model.name, model.of) for model in record.models] == [
        ("best", None),
        ("tiny", None),
        ("tiny (second copy)", "tiny"),
    ]
    assert [timing.nanoseconds for timing in record.timings] == [timing.nanoseconds for timing in measured.timings]
    rows = list(csv.DictReader((store.folder / "latency.csv").open()))
    assert {row["model"] for row in rows} == {"best", "tiny", "tiny (second copy)"}
    assert len(rows) == 3 * 4


def test_models_that_exchange_their_names_keep_their_times(small, harness, refuse_to_measure):
    shapes = ("{layers: 1, init: uniform}", "{layers: 2, init: uniform}")
    given = [*SETTINGS, f"students={{a: {shapes[0]}, b: {shapes[1]}}}"]
    assert harness("run", "small.yaml", settings=given) == 0, harness.err
    (measured,) = small.store().latencies()
    refuse_to_measure()
    exchanged = [*SETTINGS, f"students={{b: {shapes[0]}, a: {shapes[1]}}}"]
    assert harness("run", "small.yaml", settings=exchanged) == 0, harness.err
    (record,) = small.store().latencies()
    parameters = {model.name: model.parameters for model in measured.models}
    assert {model.name: model.parameters for model in record.models if model.of is None} == {
        "base": parameters["base"],
        "a": parameters["b"],
        "b": parameters["a"],
    }
    board = list(csv.DictReader((small.store().folder / "leaderboard.csv").open()))
    assert all(row["speed_up"] for row in board if row["role"] in ("teacher", "student"))


def test_keys_of_runs_do_not_depend_on_latency(small):
    plain, measured = small.plan(), small.plan(SECTION)
    assert [job.planned.key for job in plain.runs] == [job.planned.key for job in measured.runs]
    assert [job.key for job in plain.teachers] == [job.key for job in measured.teachers]
    assert (plain.file("").latency, measured.file("").latency.rounds) == (None, 8)


def test_the_latency_command_measures_trained_students(small, harness, refuse_to_measure):
    without = SETTINGS[:2]
    assert harness("latency", "small.yaml") == 2
    assert "no trained student found; run `harness run small.yaml` first" in harness.err
    small.run(*without)
    shutil.rmtree(small.folder / "cache")
    assert harness("latency", "small.yaml") == 0, harness.err
    assert "# small: latency" in harness.out
    assert "speed-up" in (small.store().folder / "leaderboard.md").read_text()
    refuse_to_measure()
    assert harness("latency", "small.yaml", "--quiet") == 0
    assert harness.err == ""
    small.run(*without)
    assert "speed-up" in (small.store().folder / "leaderboard.md").read_text(), "a run without a section keeps it"
    shutil.rmtree(small.store().folder / "latency")
    small.run(*without)
    assert small.store().plan().latency is None, "else the board says that the suite is not measured yet"


def test_a_plan_that_another_process_stores_meanwhile_is_kept(small, monkeypatch):
    """The settings are added to the plan of a run that ends after the measurement, and that writes the board first."""
    small.finished(*SETTINGS[:2])
    store, said = small.store(), []
    with Claims() as run:

        def measure_while_a_suite_runs(*_, **__):
            assert run.take(board(store.folder), "board of small")
            return ["a record"]

        def end_of_the_run(line):
            said.append(line)
            store.save_plan(small.plan("methods=[finetune, logit_kd]", "seeds=[1]").file("the larger suite"))
            run.release(board(store.folder))

        monkeypatch.setattr(suite_latency, "measure_suite", measure_while_a_suite_runs)
        latency_measurement.of_suite(small.load(*SETTINGS), small.folder / "results", end_of_the_run)
    assert [line.split(", which ")[1] for line in said] == ["writes the board of small"]
    stored = store.plan()
    assert (stored.command, stored.labels, stored.latency.rounds) == ("the larger suite", ["finetune", "logit_kd"], 8)


def test_a_student_without_a_completed_run_is_named(small, harness):
    (small.folder / "more.yaml").write_text(
        "include: small.yaml\nstudents: {2x32: {layers: 2, init: uniform}}\n", encoding="utf-8"
    )
    small.run(*SETTINGS[:2])
    assert harness("latency", "more.yaml") == 0, harness.err
    assert "2x32 was not measured: it has no completed run on order." in harness.out


def test_obstacles_are_reported_before_training(small, harness, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert harness("run", "small.yaml", settings=(*SETTINGS, "latency.backends=[eager, onnx]")) == 2
    assert "latency.backends: the backend onnx needs onnx, onnxscript, onnxruntime" in harness.err
    assert not small.store().folder.exists(), "nothing was trained"


def test_a_failed_measurement_leaves_the_board(small, harness, monkeypatch):
    def fail(*_, **__):
        raise UserError("latency: it went wrong")

    monkeypatch.setattr(suite_latency, "measure", fail)
    assert harness("run", "small.yaml") == 2
    assert "# small: leaderboard" in harness.out
    assert "error: latency: it went wrong" in harness.err


def test_lengths_are_checked_against_checkpoints_before_training(small, make, tmp_path):
    make("bert").save_pretrained(tmp_path / "short")
    from transformers import BertTokenizerFast

    BertTokenizerFast(
        vocab={word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])}
    ).save_pretrained(tmp_path / "short")
    planned = small.plan(
        f"teachers={{base: {{model: {tmp_path / 'short'}}}}}", "methods=[finetune]", "students.1x32.layers=1"
    )
    suite_latency.check(planned, LatencySpec(lengths=[64], backends=["eager"]), Host.create().latency_backends)
    with pytest.raises(UserError, match="base supports at most 64 tokens, found 65"):
        suite_latency.check(planned, LatencySpec(lengths=[65], backends=["eager"]), Host.create().latency_backends)


def test_checkpoints_are_compared_with_the_first(small, harness, make, refuse_to_measure):
    for name, family, head in (("one", "bert", "qa"), ("two", "distilbert", "bare")):
        make(family, head).save_pretrained(small.folder / name)
    assert harness("latency", "./one", "./two", settings=(SECTION, "device=cpu")) == 0, harness.err
    assert "./one (model): BertForQuestionAnswering" in harness.out
    assert "./two (model): DistilBertModel" in harness.out
    assert (small.folder / "results" / "models" / "latency.md").exists()
    make("roberta").save_pretrained(small.folder / "three")
    assert harness("latency", "./two", "./three", settings=(SECTION, "device=cpu")) == 0, harness.err
    refuse_to_measure()
    assert harness("latency", "./one", "./two", settings=(SECTION, "device=cpu")) == 0, harness.err
    assert "./one (model)" in harness.out
    assert "./three" not in harness.out, "measured, but not requested"
    assert "./three (model)" in (small.folder / "results" / "models" / "latency.md").read_text()
    assert harness("latency", "./one", "./one", settings=(SECTION,)) == 2
    assert "duplicate checkpoint './one'" in harness.err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("latency.rounds=0", "latency.rounds"),
        ("seeds=[1]", "unknown key"),
        ("latency.backends=[egaer]", "unknown backend 'egaer'; did you mean 'eager'?"),
        ("latency.backends=[eager, eager]", "duplicate value 'eager'"),
        ("latency.lengths=[task]", "`task` means the lengths of a suite's task, but checkpoints have no task"),
        ("latency.threads=[]", "latency.threads"),
        ("latency.threads=[some]", "latency.threads"),
    ],
)
def test_settings_of_checkpoints_are_checked(harness, setting, message):
    assert harness("latency", "./one", "./two", settings=(setting,)) == 2
    assert message in harness.err


def test_a_folder_without_a_model_is_an_error(harness, small):
    (small.folder / "empty").mkdir()
    BertConfig(num_hidden_layers=1).save_pretrained(small.folder / "empty")
    assert harness("latency", "./empty", settings=(SECTION,)) == 2
    assert "error: " in harness.err
    assert "Traceback" not in harness.err


FULL = (
    "latency={batch_sizes: [2], lengths: [4, task], backends: [eager, onnx-int8], rounds: 8, warmup: 10, "
    "max_seconds: 20}"
)


def test_task_lengths_memory_and_int8(small, harness):
    assert harness("run", "small.yaml", settings=(*SETTINGS[:2], FULL)) == 0, harness.err
    (record,) = small.store().latencies()
    assert record.shapes == [(2, 4), (2, "task")]
    assert (record.lengths.examples, record.lengths.longest) == (60, 11), "nine words, [CLS] and [SEP]"
    assert record.memory_shape == (2, 11)
    assert all((model.peak_memory_bytes or 0) > 0 for model in record.models if model.of is None)
    int8 = {prepared.model: prepared for prepared in record.preparations if prepared.backend == "onnx-int8"}
    examples = {name: prepared.examples for name, prepared in int8.items()}
    assert examples == {"base": 60, "1x32": 60, "1x32 (second copy)": 0}
    assert int8["1x32"].agreement >= 0.8
    (run,) = small.store().records()
    assert int8["1x32"].eager_score == pytest.approx(run.score), "on the full validation split"
    text = (small.store().folder / "latency.md").read_text()
    assert "60 validation examples of order" in text
    assert text.count("### onnx-int8") == 1


def test_each_number_of_threads_is_a_record(small, harness):
    assert harness("run", "small.yaml", settings=(*SETTINGS, "latency.threads=[1, 2]")) == 0, harness.err
    records = small.store().latencies()
    assert sorted(record.provenance.hardware.threads for record in records) == [1, 2]
    assert (small.store().folder / "latency.md").read_text().count("### eager") == 2


BF16 = "latency={batch_sizes: [2], lengths: [4], backends: [eager, bf16], rounds: 6, threads: 1, memory: false}"


def test_a_plugin_brings_a_backend(small, harness, make):
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    module = next(block for block in re.findall(r"```python\n(.*?)```", page, flags=re.S) if "bf16_backend.py" in block)
    (small.folder / "bf16_backend.py").write_text(module)
    make("bert").save_pretrained(small.folder / "one")
    assert harness("latency", "./one", "--plugin", "bf16_backend.py", settings=(BF16, "device=cpu")) == 0, harness.err
    assert "### bf16" in harness.out
    assert harness("run", "small.yaml", settings=(*SETTINGS[:2], BF16)) == 2
    assert "unknown backend 'bf16'" in harness.err
    overrides = (*SETTINGS[:2], BF16, "plugins=[order.py, bf16_backend.py]")
    assert harness("run", "small.yaml", settings=overrides) == 0, harness.err
    (record,) = small.store().latencies()
    assert {prepared.deviation is None for prepared in record.preparations if prepared.backend == "bf16"} == {False}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("object()", "has no obstacle, program, exact, packages"),
        ("Eager", "found the class Eager; register an instance, not the class"),
        ("Bad()", r"latency backend 'mine': program cannot be called as program\(model, device, example\)"),
    ],
)
def test_an_invalid_backend_is_refused(tmp_path, source, words):
    (tmp_path / "bad.py").write_text(
        "from harness import hookimpl\nfrom harness.latency.eager import Eager\n\n\n"
        "class Bad(Eager):\n    def program(self, model): ...\n\n\n@hookimpl\n"
        f"def harness_register_latency_backends(register):\n    register('mine', {source})\n"
    )
    with pytest.raises(UserError, match=words):
        Host.create([tmp_path / "bad.py"])


def test_backend_of_a_named_plugin_overrides_the_shipped_one_but_no_other_named_one(tmp_path):
    files = [tmp_path / "mine.py", tmp_path / "again.py"]
    for file in files:
        file.write_text(
            "from harness import hookimpl\nfrom harness.latency.eager import Eager\n\n\nclass Mine(Eager):\n    pass\n"
            "\n\n@hookimpl\ndef harness_register_latency_backends(register):\n    register('eager', Mine())\n"
        )
    assert type(Host.create(files[:1]).latency_backends["eager"]).__name__ == "Mine"
    with pytest.raises(UserError, match=r"duplicate latency backend 'eager': registered by .*mine.py and .*again.py"):
        Host.create(files)
