"""A disk that fails at any time: one message, exit code 2, and the same command continues to the same bits."""

import errno
import io
import itertools
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from harness.api.errors import UserError
from harness.cli import app
from harness.execution import student_runs
from harness.execution.artifact_builders import builders
from harness.execution.cohort_driver import FinishedRun
from harness.planning import graph_builder
from harness.storage import provenance
from harness.storage.disk_errors import DiskError
from harness.storage.store import Store
from tests.conftest import SmallSuite
from tests.support.disk_faults import DiskFaults

pytestmark = pytest.mark.xdist_group("disk faults")  # tests that share an undisturbed run

OVERRIDES = ("seeds=[1]", "methods=[finetune, logit_kd]", "training.checkpoint_every=4")


class Command:
    """`harness run` of the small suite in a folder, with its cache in the folder, too."""

    def __init__(self, folder, monkeypatch):
        folder.mkdir(exist_ok=True)
        self.suite = SmallSuite(folder)
        self.monkeypatch = monkeypatch
        monkeypatch.setenv("HARNESS_CACHE", str(folder / "cache"))
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # faults are counted, but nothing waits for the disk
        # `main` turns the garbage collector off for the rest of its process, which here runs the tests.
        monkeypatch.setattr(app, "gc", SimpleNamespace(disable=lambda: None, freeze=lambda: None))

    def __call__(self, *options):
        """Run the command in this process. Returns its exit code and what it printed on stderr."""
        sets = [argument for override in OVERRIDES for argument in ("--set", override)]
        folder = str(self.suite.folder / "results")
        command = ["harness", "run", str(self.suite.path), "--quiet", "--results", folder, *sets, *options]
        self.monkeypatch.setattr(sys, "argv", command)
        err = io.StringIO()
        with redirect_stdout(io.StringIO()), redirect_stderr(err), pytest.raises(SystemExit) as exited:
            app.main()
        return exited.value.code or 0, err.getvalue()

    def results(self):
        """Label -> key, metrics, weights and predictions of the completed runs."""
        results, store = {}, self.suite.store()
        for record in store.records():
            assert record.status == "completed", record.error
            folder = store.run_folder(record.key)
            weights = (folder / "student" / "model.safetensors").read_bytes()
            results[record.label] = (record.key, record.metrics, weights, (folder / "predictions.parquet").read_bytes())
        return results

    def clear(self):
        for name in ("results", "cache"):
            shutil.rmtree(self.suite.folder / name, ignore_errors=True)


@pytest.fixture
def command(tmp_path, monkeypatch):
    return Command(tmp_path / "suite", monkeypatch)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The results of a run without faults, and how often it writes and reads."""
    with pytest.MonkeyPatch.context() as patch:
        command = Command(tmp_path_factory.mktemp("undisturbed"), patch)
        with DiskFaults(command.suite.folder).injected(patch) as faults:
            code, err = command()
        assert code == 0, err
        expected = command.results()
    assert expected.keys() == {"finetune", "logit_kd"}
    return expected, faults.counts


def check_failure(code, err, command):
    """An interrupted command ends with one message that names a path and says what to do."""
    assert code == 2, err
    assert [line.startswith("error: ") for line in err.splitlines()].count(True) == 1, err
    assert "Traceback" not in err
    assert str(command.suite.folder) in err
    assert "run the same command again" in err


def check_continues(command, expected):
    """The same command continues: nothing has failed, and the results are those of the undisturbed run."""
    code, err = command()
    assert code == 0, err
    assert command.results() == expected
    folders = (command.suite.folder / "results", command.suite.folder / "cache")
    assert [path for folder in folders for path in folder.rglob("*.partial")] == []


def check_faults(command, undisturbed, kind, number, count, seed):
    expected, counts = undisturbed
    accesses, ended = range(1, counts[kind] + 1), 0
    for chosen in sorted(random.Random(seed).sample(accesses, min(count, len(accesses)))):
        faults = DiskFaults(command.suite.folder, number, **{f"fail_{kind}": chosen})
        with faults.injected(command.monkeypatch):
            code, err = command()
        if code:
            check_failure(code, err, command)
            ended += 1
        check_continues(command, expected)
        command.clear()
    assert ended, "no fault had an effect"


@pytest.mark.parametrize(("kind", "number"), [("write", errno.ENOSPC), ("write", errno.EIO), ("read", errno.EIO)])
def test_a_fault_at_any_access(command, undisturbed, kind, number):
    check_faults(command, undisturbed, kind, number, count=2, seed=number)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_a_refused_write(command, undisturbed, number):
    check_faults(command, undisturbed, "write", number, count=1, seed=number)


def test_a_disk_error_while_a_run_is_scored_is_not_a_failure_of_the_run():
    run = SimpleNamespace(error=None, position=3)
    error = DiskError("disk full")

    def score():
        raise error

    with pytest.raises(DiskError) as raised:
        FinishedRun(run, cohort_size=1, started="").scored(score)
    assert raised.value is error
    assert run.error is None


def test_a_disk_error_in_the_held_out_score_of_an_epoch_stops_the_suite(command, undisturbed, monkeypatch):
    """Tokenized data are made when they are first needed: here in a step, when the first epoch is scored."""
    real = student_runs.score

    def score(capture, data, *args, **options):
        if options["part"] == "selection":
            raise DiskError("No space left on device")
        return real(capture, data, *args, **options)

    best_epoch = ("--set", "selection={epoch: best}")
    with monkeypatch.context() as patch:
        patch.setattr(student_runs, "score", score)
        code, err = command(*best_epoch)
    assert code == 2
    assert "No space left on device" in err
    assert command.suite.store().records() == [], "no run is marked as failed"
    code, err = command(*best_epoch)
    assert code == 0, err


def test_a_disk_error_while_tuned_values_are_read_is_not_a_failure_of_the_runs(small, monkeypatch):
    """Unlike a damaged record, which fails the runs that need it and no others."""
    plan = small.plan("tuning={trials: 2}", "seeds=[1]")
    context = small.context()
    (job,) = (job for job in graph_builder.build(plan, plan.runs, workers=1).jobs if job.kind == "cohort")
    errors = {"read": UserError("the record is damaged")}

    def tuning(store, key):
        raise errors["read"]

    monkeypatch.setattr(Store, "tuning", tuning)
    cohorts = builders(plan, context, plan.runs)["cohort"]
    assert {error for _, error in cohorts.build(job.artifacts)} == {"the record is damaged"}
    errors["read"] = DiskError("Input/output error")
    with pytest.raises(DiskError):
        list(cohorts.build(job.artifacts))


def test_a_results_folder_that_vanishes(command, undisturbed):
    """Somebody deletes the results while the suite trains: the next run makes them again."""
    deleted = command.suite.folder / "deleted"

    class Vandal(DiskFaults):
        def access(self, kind, path):
            if "checkpoints" in str(path) and not deleted.exists():
                (command.suite.folder / "results").rename(deleted)

    with Vandal(command.suite.folder).injected(command.monkeypatch):
        code, err = command()
    assert deleted.exists()
    check_failure(code, err, command)
    assert "the results of 1 of 3 runs and teachers vanished while the command ran" in err
    board = (command.suite.folder / "results" / "small" / "leaderboard.md").read_text()
    assert "incomplete" in board.lower()
    check_continues(command, undisturbed[0])


def test_a_cache_that_vanishes(command, undisturbed):
    deleted = command.suite.folder / "deleted"

    class Vandal(DiskFaults):
        def access(self, kind, path):
            if "predictions" in str(path) and not deleted.exists():
                (command.suite.folder / "cache").rename(deleted)

    with Vandal(command.suite.folder).injected(command.monkeypatch):
        code, err = command()
    assert deleted.exists()
    check_failure(code, err, command)
    assert "was it deleted, moved or unmounted?" in err
    check_continues(command, undisturbed[0])


def test_a_clock_that_jumps(command, undisturbed, monkeypatch):
    """The clock goes back a day, and forward two: results are the same, and nobody's temporary file is removed."""
    clock, jumps = time.time, itertools.cycle((0, -86_400, 172_800))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: clock() + next(jumps))
        patch.setattr(provenance, "now", lambda: datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"))
        check_continues(command, undisturbed[0])


@pytest.mark.parametrize("folder", ["results", "cache"])
def test_a_read_only_disk(command, undisturbed, folder):
    place = command.suite.folder / folder
    place.mkdir(exist_ok=True)
    if subprocess.run(["mount", "--bind", "-o", "ro", str(place), str(place)], capture_output=True).returncode:
        pytest.skip("this user cannot mount a file system")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        code, err = command()
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
    check_failure(code, err, command)
    assert "Read-only file system" in err
    check_continues(command, undisturbed[0])


def test_a_broken_link_in_place_of_the_results(command):
    (command.suite.folder / "results").symlink_to(command.suite.folder / "disk that is not mounted")
    code, err = command()
    check_failure(code, err, command)
    assert "a broken link is in the place of a folder" in err


def test_a_results_folder_with_a_name_that_is_too_long(command):
    code, err = command("--results", "x" * 300)
    assert code == 2
    assert err.startswith("error: ")
    assert "File name too long; use a shorter name or path" in err
    assert "Traceback" not in err


def test_files_that_the_kernel_refuses_to_extend(command, undisturbed):
    """Unlike the faults above, this reaches the files that libraries write in C++ and Rust."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (500, 4_000, 100_000, 130_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            code, err = command()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        check_failure(code, err, command)
    check_continues(command, undisturbed[0])


def test_a_disk_that_is_full(command, undisturbed):
    """Results and cache are on a disk that is too small, and grows: each time the same command comes further."""
    folder = command.suite.folder
    for name in ("results", "cache"):
        shutil.rmtree(folder / name, ignore_errors=True)
    disk = folder / "cache"
    disk.mkdir()
    (disk / "results").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user cannot mount a file system")
    try:
        (disk / "results").mkdir()
        (folder / "results").symlink_to(disk / "results")
        for size in ("16k", "100k", "300k", "500k", "700k"):
            subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
            code, err = command()
            check_failure(code, err, command)
            assert "No space left on device" in err
            assert "MiB free" in err
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        check_continues(command, undisturbed[0])
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
