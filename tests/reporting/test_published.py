"""Tests of published figures: their files, and their rows on a board."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from harness.analysis import published_rows
from harness.api.errors import UserError
from harness.api.model_outputs import ModelShape
from harness.cli.list_command import print_list
from harness.config import published_figures
from harness.plugin_host.host import Host
from harness.reporting import report
from harness.resolution import load
from harness.storage.plan_file import PlannedTask, PublishedFigure
from harness.storage.store import Store
from tests.support.results_factory import fill, plan

GOOD = """\
title: A page
url: https://example.org/page
tables:
  - where: table 2
    split: GLUE dev
    teacher: BERT-base
    metrics: {mnli: [accuracy_m, accuracy_mm], qqp: f1}
    rows:
      - model: Old-6
        method: old
        options: {version: 1}
        shape: {layers: 6, hidden: 768, heads: 12}
        scores: {mnli: [80.5, 81], qqp: 70.0}
      - model: Old-6 again
        method: old
        options: {version: 2}
        shape: {layers: 6, hidden: 768}
        scores: {qqp: 71}
      - model: BERT-base
        checkpoints: [bert-base-uncased]
        shape: {layers: 12, hidden: 768}
        scores: {qqp: 72.0}
"""


@pytest.fixture
def complaint(tmp_path, monkeypatch):
    """Return a function that gives the error message for a file, without its folder."""
    monkeypatch.chdir(tmp_path)

    def complaint(text: str, name: str = "page.yaml") -> str:
        Path(name).write_text(text)
        with pytest.raises(UserError) as caught:
            published_figures.read(Path(name))
        return str(caught.value)

    return complaint


@pytest.fixture
def page(tmp_path) -> published_figures.Published:
    (tmp_path / "page.yaml").write_text(GOOD)
    return published_figures.read(tmp_path / "page.yaml")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("split: GLUE dev", "splits: GLUE dev", ["page.yaml:4", "unknown key", "did you mean 'split'"]),
        ("title: A page\n", "", ["key 'title' is missing"]),
        ("qqp: 70.0", "qqp: seventy", ["page.yaml:13", "scores.qqp", "a number", "'seventy'"]),
        ("qqp: 70.0", "qqp: 700", ["page.yaml:13", "less than or equal to 100", "700"]),
        ("qqp: 70.0", "cola: 70.0", ["Old-6: the metric of cola is missing", "`metrics`"]),
        ("mnli: [80.5, 81]", "mnli: 80.5", ["mnli has 1 scores for 2 metrics, accuracy_m, accuracy_mm"]),
        ("{layers: 12, hidden: 768}", "{layers: 12}", ["page.yaml:21", "key 'hidden' is missing"]),
        ("        checkpoints: [bert-base-uncased]\n", "", ["BERT-base: give `method` (a student)", "found neither"]),
        (
            "method: old\n        options: {version: 2}",
            "method: old",
            ["duplicate score: Old-6 and Old-6 again", "both have qqp"],
        ),
        ("model: BERT-base", 'model: "BERT | base"', ["page.yaml:19", "model"]),
        ("qqp: f1", "qqp: the F1 score", ["metrics.qqp", "'the F1 score'"]),
        (GOOD, "- title", ["a file of published figures: expected a mapping, found a list"]),
        (GOOD, "title: A\nurl: B\n", ["`tables` or `claims`, found neither"]),
        (GOOD, "title: [", ["page.yaml", "invalid YAML"]),
    ],
)
def test_invalid_file_is_reported_with_its_position(complaint, old, new, words):
    assert GOOD.count(old)
    message = complaint(GOOD.replace(old, new, 1))
    assert [word for word in words if word not in message] == []


def test_invalid_file_name_is_reported(complaint):
    assert "letters, digits" in complaint(GOOD, "a page.yaml")


def shape(layers: int, hidden: int, heads: int) -> ModelShape:
    return ModelShape("student", layers, hidden, heads, 4 * hidden)


@pytest.mark.parametrize(
    ("method", "version", "of", "models"),
    [
        ("old", 1, (6, 768, 12), ["Old-6"]),
        ("old", 2, (6, 768, 12), ["Old-6 again"]),
        ("old", 3, (6, 768, 12), []),
        ("older", 1, (6, 768, 12), []),
        ("old", 1, (5, 768, 12), []),
        ("old", 1, (6, 384, 12), []),
        ("old", 1, (6, 768, 3), []),
        ("old", 2, (6, 768, 3), ["Old-6 again"]),
    ],
)
def test_method_options_and_shape_must_agree(page, method, version, of, models):
    options = {"version": version, "another": True}
    figures = page.figures_of(method=method, options=options, shape=shape(*of))
    assert [row.model for _, row in figures] == models


@pytest.mark.parametrize(
    ("model", "layers", "models"),
    [
        ("google-bert/bert-base-uncased", 12, ["BERT-base"]),
        ("/models/bert-base-uncased", 12, ["BERT-base"]),
        ("google-bert/bert-base-uncased", 6, []),
        ("google-bert/bert-base-cased", 12, []),
    ],
)
def test_teacher_matches_by_checkpoint_and_shape(page, model, layers, models):
    assert [row.model for _, row in page.figures_of_teacher(model, shape(layers, 768, 12))] == models


def figure(task: str = "sst2", label: str = "kd", student: str = "big", **changes: object) -> PublishedFigure:
    defaults = {
        "values": [99.5],
        "metrics": ["accuracy"],
        "model": "KD-6",
        "teacher": "BERT-base",
        "source": "page",
        "title": "A page",
        "url": "https://example.org/page",
        "split": "GLUE dev",
        "where": "table 2, GLUE dev",
    }
    return PublishedFigure(task=task, label=label, student=student, **(defaults | changes))


OTHER = {"source": "book", "title": "A book", "split": "GLUE test server", "where": "GLUE test server"}
FIGURES = [
    figure(),
    figure(values=[98.25], metrics=["f1"], **OTHER),
    figure(label="base", student="", values=[97.0], model="BERT", teacher=None),
    figure("squad", values=[60.0, 99.9], metrics=["exact", "f1"]),
]


def printed(folder: Path, title: str) -> dict[tuple[str, str], str]:
    """Return (method with its note, student) -> cell of the published rows in a column."""
    return {key: text for key, text in column(folder, title, "published").items() if text != "–"}


def column(folder: Path, title: str, *roles: str) -> dict[tuple[str, str], str]:
    """Return (method, student) -> cell of the rows with these roles (by default the measured rows) in a column."""
    board = report(folder).board
    index = [header.title for header in board.columns].index(title)
    lines = [line for line in board.lines if line.role in (roles or ("teacher", "student"))]
    return {(line.cells[1], line.cells[2]): line.cells[index] for line in lines}


@pytest.fixture
def filled(tmp_path) -> Path:
    fill(tmp_path, plan(published=FIGURES))
    return tmp_path


def test_figures_have_rows_below_the_measured_rows(filled):
    board = report(filled).board
    assert [line.role for line in board.lines] == ["teacher", *["student"] * 4, *["published"] * 3]
    assert printed(filled, "sst2 accuracy") == {
        ("base (a)", "–"): "97.0",
        ("kd (b)", "big"): "99.5",
        ("kd (c)", "big"): "98.25 f1",
    }
    assert printed(filled, "squad f1") == {("kd (b)", "big"): "60.0/99.9 exact/f1"}
    last = report(filled).markdown.split("\n\n- ")[0].splitlines()[-3:]
    assert all(line.startswith("| *published* | *") for line in last)
    assert set(report(filled).markdown.split("\n\n- ")[0].splitlines()[-4]) <= {"|", " "}, "set apart"


def test_note_names_source_split_metrics_and_model(filled):
    notes = dict(report(filled).board.notes)
    assert notes["a"] == (
        "published as BERT, in A page, table 2, GLUE dev (https://example.org/page); sst2: accuracy. "
        "Data and tuning differ from those of this suite"
    )
    assert notes["b"] == (
        "published as KD-6, distilled from BERT-base, in A page, table 2, GLUE dev (https://example.org/page); "
        "sst2: accuracy; squad: exact/f1. Teacher, data and tuning differ from those of this suite"
    )
    assert "A book, GLUE test server" in notes["c"]
    assert "sst2: f1" in notes["c"]


def test_figures_are_never_ranked_bold_or_in_an_average(filled, tmp_path_factory):
    plain = tmp_path_factory.mktemp("plain")
    fill(plain)
    for title in ("rank", "sst2 accuracy", "squad f1", "average", "params (M)"):
        assert column(filled, title) == column(plain, title)
    for line in report(filled).board.lines[-3:]:
        assert (line.cells[0], line.best, line.cells[5:]) == ("published", frozenset(), ("–", "–"))
    assert "**99.5" not in report(filled).markdown
    assert report(filled).markdown.count("**86.0 ± 2.5**") == 1


def test_no_rows_without_figures(tmp_path):
    fill(tmp_path, plan(published=[figure()]))
    assert [line.role for line in report(tmp_path).board.lines].count("published") == 1
    fill(tmp_path)
    assert "ublished" not in report(tmp_path).markdown


def test_csv_has_a_number_for_each_published_metric(filled):
    frame = pd.read_csv(report(filled).files[1]).set_index(["label", "student"])
    row = frame.loc["kd", "big"]
    assert row["sst2_published_page_glue-dev_accuracy"] == 99.5
    assert row["sst2_published_book_glue-test-server_f1"] == 98.25
    assert row["squad_published_page_glue-dev_exact"] == 60.0
    assert row["squad_published_page_glue-dev_f1"] == 99.9
    assert row["average_mean"] == 81.5
    assert frame.filter(like="_published_").loc["finetune"].isna().all(axis=None)
    columns = list(frame.columns)
    assert columns.index("sst2_published_book_glue-test-server_f1") < columns.index("squad_state")


def test_report_with_figures_is_reproducible(filled):
    first = [path.read_bytes() for path in report(filled).files]
    assert [path.read_bytes() for path in report(filled).files] == first
    text = (filled / "plan.json").read_text()
    assert Store(filled).plan().model_dump_json(indent=1) + "\n" == text


def test_plan_of_an_earlier_version_has_no_figures(tmp_path):
    fill(tmp_path)
    content = json.loads((tmp_path / "plan.json").read_text())
    del content["published"]
    (tmp_path / "plan.json").write_text(json.dumps(content))
    assert Store(tmp_path).plan().published == []
    assert "kd" in report(tmp_path).markdown


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        (["accuracy"], "80.5"),
        (["accuracy_m", "accuracy_mm"], "80.5/81.0 m/mm"),
        (["accuracy_set_not_stated"], "80.5 set not stated"),
        (["not_stated"], "80.5 metric not stated"),
        (["f1"], "80.5 f1"),
    ],
)
def test_metric_is_named_if_it_differs_from_the_boards(metrics, shown):
    values = [80.5, 81.0][: len(metrics)]
    assert published_rows.text(figure(values=values, metrics=metrics), "accuracy") == shown


def test_figures_are_shown_before_training(tmp_path):
    mnli = PlannedTask(name="mnli", kind="classification", score="accuracy", synthetic=False)
    store = Store(tmp_path)
    store.save_plan(
        plan([mnli], published=[figure("mnli", values=[84.6, 83.2], metrics=["accuracy_m", "accuracy_mm"])])
    )
    assert printed(tmp_path, "mnli accuracy") == {("kd (c)", "big"): "84.6/83.2 m/mm"}


PLUGIN = """
from pathlib import Path
from harness import hookimpl

@hookimpl
def harness_register_published(register):
    register(Path(__file__).with_name("{file}"))
"""


@pytest.fixture
def plugin(tmp_path) -> Path:
    """A plugin with a file of figures whose third key is misspelt."""
    (tmp_path / "page.yaml").write_text(GOOD.replace("tables:", "tabels:"))
    (tmp_path / "figures.py").write_text(PLUGIN.format(file="page.yaml"))
    return tmp_path / "figures.py"


def test_missing_or_badly_named_file_names_its_plugin(tmp_path):
    for file, words in (("none.yaml", "none.yaml: file not found"), ("a b.yaml", "a b.yaml: invalid file name")):
        (tmp_path / "figures.py").write_text(PLUGIN.format(file=file))
        with pytest.raises(UserError, match=words) as caught:
            Host.at([tmp_path / "figures.py"])
        assert str(tmp_path / "figures.py") in str(caught.value)


def test_invalid_file_is_reported_only_by_suites_that_select_it(plugin, small):
    position = f"{plugin.parent / 'page.yaml'}:3: "
    for chosen in ("true", "[page]"):
        with pytest.raises(UserError) as caught:
            load(small.path, overrides=[f"published={chosen}"], plugins=[str(plugin)])
        (problem,) = caught.value.problems
        assert str(problem).startswith(position)
        assert "did you mean 'tables'" in problem.message
        assert str(plugin) in problem.message
        assert "`published`" in problem.message
    for chosen, sources in (("false", []), ("[distilbert-readme]", ["distilbert-readme"])):
        loaded = load(small.path, overrides=[f"published={chosen}"], plugins=[str(plugin)])
        assert [source.name for source in loaded.suite.published] == sources


def test_list_of_sources_skips_an_invalid_file_with_a_warning(plugin, capsys):
    print_list("published", [str(plugin)])
    shown = capsys.readouterr()
    assert "distilbert-readme" in shown.out
    assert "warning: published figures 'page' are not loaded" in shown.err
    assert f"{plugin.parent / 'page.yaml'}:3" in shown.err
