"""`harness export`, `predict` and `submit` from the command line: output, files, one message per problem."""

import io
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from pyarrow import parquet
from transformers import pipeline

from harness.api.errors import UserError
from harness.cli import app
from harness.prediction import loaded_model
from harness.storage.plan_file import PlannedRun, PlannedTask
from harness.storage.store import Store
from harness.tasks.glue import COLUMNS, TASKS
from tests.prediction.test_glue_submission import OFFICIAL, check_official
from tests.support.hub_layout import write_dataset
from tests.support.odd_columns import odd_table
from tests.support.own_code import give_code
from tests.support.results_factory import plan, run_record
from tests.support.stored_students import MAX_LENGTH, TEXTS, fill_with_students
from tests.support.tiny_checkpoints import LABELS, save_checkpoint

ROWS = 5


@pytest.fixture(autouse=True)
def garbage_collector(monkeypatch):
    monkeypatch.setattr(app, "gc", SimpleNamespace(disable=lambda: None, freeze=lambda: None))


@pytest.fixture
def call(monkeypatch, capsys):
    """Call the command line in this process. Returns exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            app.main()
        output = capsys.readouterr()
        return int(exited.value.code or 0), output.out, output.err

    return call


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    fill_with_students(folder / "demo", seeds=1)
    return folder


def test_export_and_predict(results, tmp_path, call):
    target, table, out = tmp_path / "model", tmp_path / "in.csv", tmp_path / "out.jsonl"
    code, printed, _ = call("export", "demo", "--results", results, "--max-params", "10M", "--to", target)
    assert code == 0
    assert printed.startswith(f"{target}: kd on small, task sst2, seed 1, run sst2-kd-small-1\n")
    assert "kd on small has the highest mean accuracy of 2 rows with at most 10,000,000 parameters: 75.0" in printed
    assert f"  {target / 'model.safetensors'}\n" in printed
    pd.DataFrame({"label": ["gold"] * len(TEXTS), "text": TEXTS}).to_csv(table, index=False)
    code, printed, errors = call("predict", target, table, "--out", out)
    assert (code, printed) == (0, "")
    assert f"{out}: {len(TEXTS)} rows; read text; added predicted_label, score" in errors
    rows = pd.read_json(out, lines=True)
    assert list(rows) == ["label", "text", "predicted_label", "score"]
    assert rows["text"].tolist() == TEXTS
    stored = results / "demo" / "runs" / "sst2-kd-small-1"
    code, _, _ = call("predict", stored, table, "--out", tmp_path / "run.jsonl", "--results", results, "--scores")
    assert code == 0
    of_run = pd.read_json(tmp_path / "run.jsonl", lines=True)
    assert of_run["predicted_label"].tolist() == rows["predicted_label"].tolist()
    assert of_run.filter(like="score_").sum(axis=1).tolist() == pytest.approx([1] * len(TEXTS))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no results folder of a suite 'nothing' below {results}, and no run whose key starts with it; "),
        (["demo", "--max-params", "tiny"], "--max-params: 'tiny' is not a number such as 20M"),
        (["demo", "--max-latency", "5ms"], "the latency of its students was not measured on any machine"),
        (["demo", "--task", "sst"], "has no task 'sst'; did you mean 'sst2'?"),
        (["{results}/demo/runs/sst2-kd-big-1", "--label", "kd"], "--label cannot be used with a run"),
    ],
)
def test_export_that_is_refused(results, tmp_path, call, arguments, message):
    arguments = [argument.format(results=results) for argument in arguments]
    code, printed, errors = call("export", *arguments, "--results", results, "--to", tmp_path / "m")
    assert (code, printed) == (2, "")
    assert message.format(results=results) in errors
    assert not (tmp_path / "m").exists()


def test_a_run_of_an_incomplete_row_can_be_exported(tmp_path, call):
    store = fill_with_students(tmp_path / "demo", seeds=2)
    (store.run_folder("sst2-kd-big-2") / "record.json").unlink()
    code, printed, _ = call("export", store.run_folder("sst2-kd-big-1"), "--results", tmp_path, "--to", tmp_path / "m")
    assert code == 0
    assert "run sst2-kd-big-1" in printed
    assert "It was named by its key." in (tmp_path / "m" / "README.md").read_text()


def test_a_student_with_code_of_its_own_is_exported_if_that_is_trusted(tmp_path, call):
    fill_with_students(tmp_path / "demo", seeds=1, finish=give_code)
    target = tmp_path / "m"
    export = ("export", "demo", "--results", tmp_path, "--to", target)
    code, _, errors = call(*export)
    assert code == 2
    assert "the model has Python code of its own; " in errors
    assert "--trust-remote-code" in errors
    assert not target.exists()
    code, _, errors = call(*export, "--trust-remote-code")
    assert code == 0, errors
    assert (
        'pipeline("text-classification", "PATH_OR_HUB_ID", truncation=True, trust_remote_code=True)'
        in (target / "README.md").read_text()
    )
    (answer,) = pipeline("text-classification", str(target), trust_remote_code=True, device="cpu")("a film")
    assert answer["label"] in LABELS["classification"]


def test_predict_reads_the_encoding_and_the_delimiter_that_are_given(tmp_path, call):
    save_checkpoint(tmp_path / "m", "classification")
    table, out = tmp_path / "in.csv", tmp_path / "out.csv"
    table.write_text("review;n\nDélivré, à temps;1\n", encoding="latin-1")
    code, _, errors = call("predict", tmp_path / "m", table, "--out", out, "--encoding", "latin-1", "--delimiter", ";")
    assert code == 0, errors
    assert pd.read_csv(out)["review"].tolist() == ["Délivré, à temps"]


def test_predict_reads_quotes_as_characters_if_it_is_told_so(tmp_path, call):
    save_checkpoint(tmp_path / "m", "classification")
    table, out = tmp_path / "in.tsv", tmp_path / "out.jsonl"
    table.write_text('text\n"He left.\nThey said so."\n')
    code, _, errors = call("predict", tmp_path / "m", table, "--out", out, "--no-quoting")
    assert code == 0, errors
    assert pd.read_json(out, lines=True)["text"].tolist() == ['"He left.', 'They said so."']


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}/absent", "in.csv", "--out", "out.csv"], "there is no folder"),
        (["abc123", "in.csv", "--out", "out.csv"], "no run below {results} has a key that starts with 'abc123'"),
        (["{folder}/m", "absent.csv", "--out", "out.csv"], "file not found: absent.csv"),
        (["{folder}/m", "in.csv", "--out", "out.xlsx"], "unknown extension '.xlsx'"),
        (["{folder}/m", "in.csv", "--out", "in.csv"], "--out: is the input file, which is not replaced"),
        (["{folder}/m", "in.csv", "--out", "out.csv", "--text", "texd"], "no column 'texd'; did you mean 'text'"),
        (["{folder}/m", "in.csv", "--out", "out.csv", "--device", "tpu"], "there is no tpu here"),
        (["{folder}/absent", "in.jsonl", "--out", "out.parquet"], "column 'other': parquet cannot hold its values"),
        (
            ["{folder}/absent", "odd.parquet", "--out", "out.csv"],
            "column 'odd' (duration[s]): its values cannot be read",
        ),
        (["{folder}/m", "latin.csv", "--out", "out.csv", "--encoding", "latin-1"], "set --delimiter to ';'"),
        (["{folder}/m", "latin.csv", "--out", "out.csv", "--delimiter", ";"], "set --encoding to"),
        (["{folder}/m", "open.csv", "--out", "out.csv"], "set --no-quoting if quotes have no such meaning"),
        (["{folder}/m", "in.jsonl", "--out", "out.csv", "--delimiter", ";"], "--delimiter: has no meaning for jsonl"),
        (["{folder}/m", "in.jsonl", "--out", "out.csv", "--no-quoting"], "--no-quoting: has no meaning for jsonl"),
        (["{folder}/m", "in.csv", "--out", "out.csv", "--delimiter", ";;"], "--delimiter: ';;' is not a character"),
    ],
)
def test_predict_that_is_refused(results, tmp_path, call, monkeypatch, arguments, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "m", "classification")
    Path("in.csv").write_text("text,other\na,b\n")
    Path("in.jsonl").write_text('{"text": "a", "other": {}}\n')
    Path("open.csv").write_text('text\n"never closed\n')
    Path("latin.csv").write_text("text;n\nà temps;1\n", encoding="latin-1")
    parquet.write_table(odd_table("a large duration", text=list("abcd")), "odd.parquet")
    arguments = [argument.format(folder=tmp_path) for argument in arguments]
    code, printed, errors = call("predict", *arguments, "--results", results)
    assert (code, printed) == (2, "")
    assert message.format(results=results) in errors
    assert not list(Path().glob("out.*"))


class Glue:
    """All tasks of GLUE with test splits of a few rows, a suite of them, and a store with their students."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.suite, self.store = folder, folder / "all.yaml", Store(folder / "results" / "all")
        splits = {"mnli": ["test_matched", "test_mismatched"]}
        configs = {
            name: {split: self._rows(columns) for split in splits.get(name, ["test"])}
            for name, columns in COLUMNS.items()
        }
        write_dataset(folder / "glue", configs)
        tasks = [task for task in TASKS if not task.diagnostic]
        suite = {
            "name": "all",
            "tasks": [task.name for task in tasks],
            "sources": {"glue": "./glue"},  # in the folder of the suite
            "teachers": {"base": {"architecture": {"layers": 2, "hidden": 32, "heads": 2, "ffn": 64}}},
            "students": {"small": {"layers": 1, "init": "uniform"}},
            "methods": ["finetune"],
            "seeds": [1],
        }
        self.suite.write_text(yaml.safe_dump(suite))
        planned = [PlannedTask(name=t.name, kind=t.kind, score=t.score, synthetic=False) for t in tasks]
        runs = [
            PlannedRun(
                key=t.name, task=t.name, label="finetune", method="finetune", student="small", seed=1, teachers=[]
            )
            for t in tasks
        ]
        common = {"students": ["small"], "labels": ["finetune"], "teachers": {}}
        self.store.save_plan(plan(planned, seeds=1, runs=runs, **common))
        for task in tasks:
            self._save(task)

    def _rows(self, columns: tuple[str, ...]) -> pd.DataFrame:
        texts = {name: TEXTS[number : number + ROWS] for number, name in enumerate(columns)}
        return pd.DataFrame(texts | {"label": [-1] * ROWS, "idx": range(ROWS)})

    def _save(self, task) -> None:
        from transformers import AutoConfig

        def export(path: Path) -> None:
            save_checkpoint(
                path, "classification" if len(task.labels) == 3 else "regression" if not task.labels else "two"
            )
            if task.labels:
                config = AutoConfig.from_pretrained(path)
                config.id2label = dict(enumerate(task.labels))
                config.label2id = {name: number for number, name in enumerate(task.labels)}
                config.save_pretrained(path)

        parts = {"data": {"max_length": MAX_LENGTH}}
        record = run_record(task.name, "finetune", "small", 1, 0.5, key=task.name, parts=parts, method="finetune")
        self.store.save(record, export=export)


@pytest.fixture(scope="module")
def glue(tmp_path_factory):
    return Glue(tmp_path_factory.mktemp("glue"))


def submit(glue, call, *arguments):
    return call("submit", glue.suite, "--label", "finetune", "--results", glue.folder / "results", *arguments)


def test_a_submission_with_short_test_sets_is_refused(glue, call, tmp_path):
    code, _, errors = submit(glue, call, "--to", tmp_path / "s.zip")
    assert code == 2
    assert "CoLA.tsv: the test split has 5 rows, the server expects 1,063" in errors
    assert "--allow-missing fills missing files with one constant prediction" in errors
    assert not (tmp_path / "s.zip").exists()


def test_a_submission_has_all_files_in_the_official_format(glue, call):
    code, printed, errors = submit(glue, call, "--allow-missing")
    assert code == 0
    target = glue.store.folder / "submissions" / "finetune-small-seed1.zip"
    assert printed.startswith(f"{target}: CoLA.tsv, SST-2.tsv")
    assert "missing: AX.tsv: the test split has 5 rows" in errors
    with zipfile.ZipFile(io.BytesIO(target.read_bytes())) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    assert files.keys() == OFFICIAL.keys()
    for name, content in files.items():
        check_official(name, content, rows=ROWS)
    assert files["MNLI-m.tsv"] == files["AX.tsv"]  # the same texts, answered by the same student


def test_the_suite_says_whether_the_code_of_students_is_trusted(glue, call, tmp_path, monkeypatch):
    trusted = []

    def of_run(run, *, trust_remote_code):
        trusted.append(trust_remote_code)
        raise UserError("seen")

    monkeypatch.setattr(loaded_model, "of_run", of_run)
    for setting in ("true", "false"):
        submit(glue, call, "--allow-missing", "--to", tmp_path / "s.zip", "--set", f"trust_remote_code={setting}")
    assert trusted == [True, False]


def test_a_trained_task_without_readable_test_set_is_never_filled(glue, call, tmp_path):
    (tmp_path / "empty").mkdir()
    source = f"sources.glue={tmp_path / 'empty'}"
    code, _, errors = submit(glue, call, "--allow-missing", "--to", tmp_path / "s.zip", "--set", source)
    assert code == 2
    assert "CoLA.tsv: " in errors
    assert "AX.tsv: " in errors
    assert "sources.glue: the tasks of these files are trained, so their test sets are needed" in errors
    assert not (tmp_path / "s.zip").exists()


def test_missing_tasks_are_named_and_filled(glue, call, tmp_path):
    path = glue.store.run_folder("wnli") / "record.json"
    content = path.read_bytes()
    path.unlink()
    try:
        code, _, errors = submit(glue, call, "--allow-missing", "--to", tmp_path / "s.zip")
    finally:
        path.write_bytes(content)
    assert code == 0
    assert (
        "missing: WNLI.tsv: task wnli: finetune on small, seed 1, is not trained yet (`harness run demo.yaml`)"
        in errors
    )
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        check_official("WNLI.tsv", archive.read("WNLI.tsv").decode())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "finetunes"], "--label: no method 'finetunes'; did you mean 'finetune'?"),
        (["--student", "big"], "--student: no student 'big'; allowed: small"),
        (["--seed", "4"], "--seed: no seed 4; its seeds are 1"),
    ],
)
def test_a_submission_of_unknown_names(glue, call, arguments, message):
    code, _, errors = submit(glue, call, *arguments)
    assert code == 2
    assert message in errors
