"""A report is computed again only if its results or its files have changed, and it is never outdated."""

import shutil

import pytest

from harness import hookimpl
from harness.plugin_host.host import Host
from harness.reporting import file_manifest, report, report_files, unchanged_reports
from harness.storage.store import Store
from tests.support.latency_factory import SETTINGS, latency_record
from tests.support.results_factory import fill, plan, run_key, run_record

KEY = run_key("sst2", "kd", "big", 1)


@pytest.fixture
def counted(monkeypatch, settled_files):
    """The folders whose report was computed, in order."""
    computed, write = [], report_files.write

    def counting(folder, host):
        computed.append(folder)
        return write(folder, host)

    monkeypatch.setattr(report_files, "write", counting)
    return computed


@pytest.fixture
def folder(tmp_path):
    """Results with latency, sections and predictions. The first plan is that of a grid."""
    fill(tmp_path / "r", plan(latency=SETTINGS), answered=True).save_latency(latency_record())
    return tmp_path / "r"


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_second_report_is_recalled_and_equal(folder, counted):
    first, before = report(folder), contents(folder)
    again = report(folder)
    assert again == first
    assert counted == [folder]
    assert contents(folder) == before
    assert again.texts["csv"] == (folder / "leaderboard.csv").read_bytes().decode()


def remove(name):
    return lambda folder: (folder / name).unlink()


def edit(name):
    return lambda folder: (folder / name).write_text("edited")


def by_another_version(folder):
    file_manifest.replace(folder, {"leaderboard.md": "of another version"})


def with_another_score(folder):
    shutil.rmtree(folder / "runs" / KEY)
    Store(folder).save(run_record("sst2", "kd", "big", 1, score=0.123))


CHANGES = {
    "a file is missing": remove("leaderboard.csv"),
    "a detail is missing": lambda folder: next((folder / "details").iterdir()).unlink(),
    "a file was edited": edit("index.html"),
    "the manifest is missing": remove(file_manifest.NAME),
    "another version wrote the files": by_another_version,
    "a measurement is gone": lambda folder: shutil.rmtree(folder / "latency"),
    "predictions are gone": remove(f"runs/{KEY}/predictions.parquet"),
    "a score is another one": with_another_score,
    "the plan is another one": lambda folder: Store(folder).save_plan(plan()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_results_or_files_writes_the_report_again(folder, counted, change, tmp_path):
    report(folder)
    change(folder)
    again = report(folder)
    assert counted == [folder, folder]
    shutil.copytree(folder, tmp_path / "copy")
    new = report(tmp_path / "copy")
    assert (again.board, again.texts) == (new.board, new.texts)
    for path in again.files:
        assert path.read_bytes() == (tmp_path / "copy" / path.relative_to(folder)).read_bytes()


def test_a_new_student_is_a_change(folder, counted):
    report(folder)
    (folder / "runs" / KEY / "student").mkdir()
    report(folder)
    assert len(counted) == 2
    assert (folder / "best" / "sst2" / "big").is_symlink()


class Guest:
    @hookimpl
    def harness_report_sections(self, results):
        return []


def test_reports_with_sections_of_other_plugins_are_always_computed(folder, counted):
    host = Host.reporting()
    assert host.has_own_reports_only
    host.add_observer(Guest())
    for _ in range(2):
        report(folder, host)
    assert len(counted) == 2


def test_a_cache_that_cannot_be_written_costs_time_only(folder, counted, monkeypatch):
    report(folder)
    (folder / "index.html").unlink()
    monkeypatch.setattr(unchanged_reports, "forget", lambda kind, inputs: None)
    report(folder)
    assert (folder / "index.html").exists()
