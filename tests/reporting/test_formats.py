"""Tests of the formats of a board: content, escaping of special names, and formats of plugins."""

import json
import re

import pytest

from harness.analysis.aggregate import summarize
from harness.api.errors import UserError
from harness.cli import app
from harness.plugin_host.contribution_checks import TASKS_RESERVED
from harness.plugin_host.host import Host
from harness.reporting import report
from harness.reporting.export_rows import csv_rows
from harness.reporting.formats import SPECIAL, table
from harness.reporting.table_model import Column, Line
from harness.storage.plan_file import PlannedAssistant, PlannedTuning
from harness.storage.store import Store
from tests.support.latency_factory import SETTINGS, latency_record
from tests.support.results_factory import SST2, fill, plan, run_key, run_record, teacher_record

PLUGIN = """
from harness import hookimpl

@hookimpl
def harness_register_reporters(register):
    register("txt", lambda content: " ".join(row.label for row in content.summary.students))
"""


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["harness", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        app.main()
    return caught.value.code or 0


@pytest.fixture
def folder(tmp_path):
    fill(tmp_path / "r", leave_out=[run_key("sst2", "finetune", "big", 1)], answered=True)
    return tmp_path / "r"


@pytest.mark.parametrize("name", ["md", "csv", "tex", "bib", "json"])
def test_format_option_prints_one_format_and_all_are_written(folder, name, monkeypatch, capsys):
    assert run(monkeypatch, "report", folder, "--format", name) == 0
    printed = capsys.readouterr().out
    assert printed == (folder / f"leaderboard.{name}").read_text()
    assert {path.name for path in folder.glob("leaderboard.*")} == {
        f"leaderboard.{n}" for n in ("md", "csv", "tex", "bib", "json")
    }


def test_unknown_format_is_refused(folder, monkeypatch, capsys):
    assert run(monkeypatch, "report", folder, "--format", "jsom") == 2
    assert "--format: unknown format 'jsom'; did you mean 'json'?" in capsys.readouterr().err
    assert not (folder / "leaderboard.md").exists()


def test_json_has_the_content_of_the_board(folder):
    report(folder)
    document = json.loads((folder / "leaderboard.json").read_text())
    rows = {(row["label"], row["student"]): row for row in document["rows"]}
    kd, alone = rows["kd", "small"], rows["finetune", "big"]
    assert kd["tasks"]["sst2"]["seeds"] == {"1": 75.0, "2": 75.0, "3": 75.0}
    assert kd["tasks"]["sst2"]["over"] == "seeds and examples"
    assert kd["average_low"] < kd["average_mean"] == 74.5 < kd["average_high"]
    assert (alone["status"], alone["rank"], alone["average_mean"], alone["top_group"]) == (
        "incomplete",
        None,
        None,
        None,
    )
    assert "not run yet" in alone["tasks"]["sst2"]["notes"][0]
    (pair,) = [comparison for comparison in document["comparisons"] if comparison["student"] == "small"]
    assert pair["labels"] == ["finetune", "kd"]
    assert pair["difference"] == -8.0
    assert pair["significant"] is (pair["p_holm"] <= 0.05)
    assert document["command"] == "harness run demo.yaml"
    assert document["fingerprints"] == {"sst2": "fingerprint-of-sst2", "squad": "fingerprint-of-squad"}


def test_task_name_does_not_overwrite_a_field(tmp_path):
    """An older plan may have names that are now refused."""
    planned = plan([SST2.model_copy(update={"name": "gap", "score": "closed"})])
    store = Store(tmp_path)
    store.save_plan(planned)
    store.save_teacher(teacher_record("gap", 0.9))
    for run in planned.runs:
        store.save(run_record(run.task, run.label, run.student, run.seed, 0.5 + len(run.label) / 100))
    report(tmp_path)
    row = json.loads((tmp_path / "leaderboard.json").read_text())["rows"][-1]
    assert {"gap_closed", "gap_closed_low", "teacher_seconds", "average_mean"} <= row.keys()
    assert not {"gap_state", "gap_closed_mean"} & row.keys()
    assert row["tasks"]["gap"]["metric"] == "closed"


def test_column_prefixes_are_reserved_task_names(tmp_path):
    tuning = PlannedTuning(trials=1, seed=0, on="train", studies=[])
    taught = {"mid": PlannedAssistant(label="kd", student="big")}
    store = fill(tmp_path, plan(latency=SETTINGS, tuning=tuning, assistants=taught))
    store.save_latency(latency_record())
    names = [name for name in csv_rows(summarize(store))[-1] if not name.startswith(("sst2_", "squad_"))]
    words = [name.split("_") for name in names]
    assert {"_".join(parts[:count]) for parts in words for count in range(1, len(parts))} == set(TASKS_RESERVED)


def test_markdown_escapes_special_names():
    text = table([Column(("a|b",))], [Line("student", "", ("*x* _y_ a_b <b> < 3 [l](u) `c|d` [1, 2]",))])
    assert text.splitlines()[0].strip("| ") == r"a\|b"
    assert text.splitlines()[2].strip("| ") == r"\*x\* \_y\_ a_b \<b> < 3 \[l](u) `c\|d` [1, 2]"
    assert not SPECIAL.search("kd-loss=mse, tinybert_kl 85.3 ± 0.4 (a) 3.2× [3.1, 3.3]")


def test_every_mark_in_a_table_has_a_footnote(folder):
    text = report(folder).markdown
    tables = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    used = set(re.findall(r"\(([a-z])\)", tables)) | {"●"} & set(tables)
    assert used == {"a", "●"}
    assert all(f"- ({mark}) " in text or f"- {mark} " in text for mark in used)


def test_label_with_markup_does_not_break_tables(tmp_path):
    labels = {"finetune": [], "a|b_*": ["base"]}
    runs = [run.model_copy(update={"label": "a|b_*"}) if run.label == "kd" else run for run in plan([SST2]).runs]
    fill(tmp_path)
    Store(tmp_path).save_plan(plan([SST2], runs=runs, labels=list(labels)))
    text = report(tmp_path).markdown
    rows = text.split("\n\n")[1].splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert r"a\|b\_\*" in text
    assert r"a$|$b\_*" in (tmp_path / "leaderboard.tex").read_text()


def test_plugin_adds_a_format(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "txt.py").write_text(PLUGIN)
    assert run(monkeypatch, "report", folder, "--plugin", tmp_path / "txt.py", "--format", "txt") == 0
    assert capsys.readouterr().out == "kd finetune kd finetune"
    assert (folder / "leaderboard.txt").read_text() == "kd finetune kd finetune"


def test_report_removes_only_files_of_an_earlier_report(folder, tmp_path):
    (tmp_path / "txt.py").write_text(PLUGIN)
    store = Store(folder)
    store.save_latency(latency_record())
    report(folder, Host.reporting([tmp_path / "txt.py"]))
    theirs = [folder / name for name in ("leaderboard.pdf", "leaderboard.aux", "notes.md", "latency.txt")]
    for path in theirs:
        path.write_text("made by others")
    written = {"leaderboard.txt", "latency.md", "latency.csv"}
    assert written <= {path.name for path in folder.iterdir()}
    report(folder, Host.reporting([tmp_path / "txt.py"]))
    assert written <= {path.name for path in folder.iterdir()}
    (folder / "latency" / "k1.json").unlink()
    report(folder)
    assert not written & {path.name for path in folder.iterdir()}
    assert all(path.exists() for path in theirs)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"formats": 3}', '{"formats": ["../runs", "*", 1]}'])
def test_damaged_old_board_is_replaced(folder, text):
    (folder / "leaderboard.json").write_text(text)
    report(folder)
    assert json.loads((folder / "leaderboard.json").read_text())["formats"] == ["md", "csv", "tex", "bib", "json"]


@pytest.mark.parametrize(
    ("name", "reporter", "words"),
    [
        ('"a/b"', "str", "the name is a file extension; allowed: lower-case letters and digits"),
        ('"txt"', "3", "int '3' is not callable; register a function of harness.api.report.Content"),
        ('"txt"', "lambda: ''", "format 'txt' must take one argument, a harness.api.report.Content"),
    ],
)
def test_invalid_format_is_refused(tmp_path, name, reporter, words):
    source = PLUGIN.replace('"txt"', name).split("lambda")[0] + f"{reporter})\n"
    (tmp_path / "bad.py").write_text(source)
    with pytest.raises(UserError, match=words):
        Host.reporting([tmp_path / "bad.py"])


@pytest.mark.parametrize(
    ("reporter", "words"),
    [
        ("lambda content: content.summary.students[99].label", "IndexError: tuple index out of range"),
        ("lambda content: None", "TypeError: expected a text, got a NoneType"),
    ],
)
def test_a_format_that_fails_is_left_out_with_a_warning(folder, tmp_path, monkeypatch, capsys, caplog, reporter, words):
    (tmp_path / "bad.py").write_text(PLUGIN.split("lambda")[0] + f"{reporter})\n")
    assert run(monkeypatch, "report", folder, "--plugin", tmp_path / "bad.py") == 0
    assert f"format 'txt' of {tmp_path / 'bad.py'} failed: {words}" in caplog.text
    assert (folder / "leaderboard.md").exists()
    assert not (folder / "leaderboard.txt").exists()
    assert run(monkeypatch, "report", folder, "--plugin", tmp_path / "bad.py", "--format", "txt") == 2
    assert "--format: the format 'txt' failed" in capsys.readouterr().err
    (tmp_path / "bad.py").write_text(PLUGIN.replace('"txt"', '"md"').split("lambda")[0] + f"{reporter})\n")
    with pytest.raises(UserError, match=f"format 'md' of .*bad.py failed: {words}"):
        report(folder, Host.reporting([tmp_path / "bad.py"]))


def test_format_of_a_named_plugin_overrides_the_shipped_one_but_no_other_named_one(tmp_path):
    files = [tmp_path / "mine.py", tmp_path / "again.py"]
    for file in files:
        file.write_text(PLUGIN.replace('"txt"', '"md"').replace("lambda content: ", "lambda content: 'mine: ' + "))
    host = Host.reporting(files[:1])
    fill(tmp_path / "r", answered=True)
    report(tmp_path / "r", host)
    assert (tmp_path / "r" / "leaderboard.md").read_text().startswith("mine: ")
    with pytest.raises(UserError, match=r"duplicate format 'md': registered by .*mine.py and by .*again.py"):
        Host.reporting(files)
