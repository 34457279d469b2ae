"""Tests of sections from plugins: discovery, CSV files, and failures."""

import json
import logging
import sys
from types import SimpleNamespace

import pytest

from harness import hookimpl
from harness.api.report import Section
from harness.cli import app
from harness.plugin_host.host import Host
from harness.reporting import report
from tests.support.grid_factory import made, row
from tests.support.results_factory import fill

PLUGIN = """
from harness import hookimpl
from harness.api.report import Section

@hookimpl
def harness_report_sections(results):
    rows = [{"label": row.label, "cost": row.student_seconds} for row in results.students]
    return [Section("Cost", f"There are {len(rows)} rows.", "cost", rows)]
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package of one module with an entry point, as pip would."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))

    def install_module(source, group="harness.report", module="third_party_sections"):
        info = site / f"{module}-1.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[{group}]\nthird = {module}\n")
        sys.modules.pop(module, None)

    return install_module


def host_of(sections):
    """Return a host with one plugin that provides these sections."""

    class Plugin:
        @hookimpl
        def harness_report_sections(self, results):
            return sections(results)

    host = Host.reporting()
    host.add_observer(Plugin())
    return host


def test_installed_plugin_adds_section_and_csv(install, tmp_path):
    install(PLUGIN)
    fill(tmp_path / "r")
    written = report(tmp_path / "r")
    board, _, reading = written.markdown.partition("\n## Cost\n\nThere are 4 rows.\n\n")
    assert board.startswith("# demo")
    assert reading.startswith("## How to read it")
    path = tmp_path / "r" / "sections" / "cost.csv"
    assert written.files[-1] == path
    assert path.read_text().splitlines()[:2] == ["label,cost", "kd,360.0"]
    assert [section.title for section in written.sections] == ["Cost"]


def test_only_the_csv_of_a_removed_section_is_removed(tmp_path):
    old, mine = (tmp_path / "r" / "sections" / f"{name}.csv" for name in ("old", "mine"))
    fill(tmp_path / "r")
    report(tmp_path / "r", host_of(lambda results: [Section("Old", "text", "old", [{"n": 1}])]))
    assert old.exists()
    mine.write_text("a file of the user")
    report(tmp_path / "r")
    assert not old.exists()
    assert mine.read_text() == "a file of the user"


def test_sections_with_the_same_file_share_it(tmp_path):
    def sections(results):
        return [Section(str(n), "text", "both", [{"n": n}]) for n in (1, 2)]

    host = host_of(sections)
    fill(tmp_path)
    report(tmp_path, host)
    assert (tmp_path / "sections" / "both.csv").read_text() == "n\n1\n2\n"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda results: 1 / 0, "ZeroDivisionError"),
        (lambda results: None, "expected a list of harness.api.report.Section, got None"),
        (lambda results: ["text"], "got ['text']"),
        (lambda results: [Section("A", "text", "a/b", [{"n": 1}])], "found 'a/b'"),
    ],
)
def test_failing_section_is_logged_and_skipped(tmp_path, caplog, answer, words):
    fill(tmp_path)
    with caplog.at_level(logging.WARNING, "harness"):
        written = report(tmp_path, host_of(answer))
    assert words in caplog.text
    assert written.sections == ()
    assert "## How to read it" in written.markdown


FORMAT = """
from harness import hookimpl

@hookimpl
def harness_register_reporters(register):
    register("txt", str)
"""


@pytest.mark.parametrize("source", [PLUGIN, FORMAT])
def test_unloadable_plugin_is_refused_with_the_remedy(install, source):
    install(source, group="harness")
    host = Host.create()
    assert "of the entry-point group 'harness.report'" in host.broken["third"]


def test_report_loads_a_plugin_by_path(tmp_path, monkeypatch):
    fill(tmp_path / "r")
    (tmp_path / "mine.py").write_text(PLUGIN)
    monkeypatch.setattr(sys, "argv", ["harness", "report", str(tmp_path / "r"), "--plugin", str(tmp_path / "mine.py")])
    monkeypatch.setattr(app, "gc", SimpleNamespace(disable=lambda: None, freeze=lambda: None))  # of the tests' process
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert not ended.value.code
    assert "## Cost" in (tmp_path / "r" / "leaderboard.md").read_text()


def test_both_hosts_have_the_same_sections(tmp_path):
    rows = {f"kd-a={a}": row(a=a) for a in (1, 2)}
    made(tmp_path, rows, {(task, label, "small"): [0.5, 0.6] for label in rows for task in ("sst2", "rte")})
    texts = [report(tmp_path, host).markdown for host in (None, Host.reporting(), Host.create())]
    assert "## Study of kd" in texts[0]
    assert texts[0] == texts[1] == texts[2]


def test_plan_of_an_earlier_version_has_no_sections(tmp_path):
    fill(tmp_path)
    path = tmp_path / "plan.json"
    plan = json.loads(path.read_text())
    assert (plan.pop("rows"), plan.pop("shapes")) == ({}, {})
    path.write_text(json.dumps(plan))
    assert report(tmp_path).sections == ()
