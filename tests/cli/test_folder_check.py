"""`harness doctor DIR` finds what is damaged; after `--repair`, the same command makes it again with the same bits."""

import errno
import os
import shutil
import sys
from types import SimpleNamespace

import pytest
import yaml

from harness.cli import app
from harness.cli.folder_check import check_folder
from harness.storage import atomic_writes, checksums, process_identity, set_aside
from harness.storage.store import Store
from tests.conftest import SmallSuite
from tests.execution.test_augmented_data import save_language_model
from tests.execution.test_damaged_caches import KINDS, METHODS, damage_largest, flip_a_bit, outcome
from tests.execution.test_text_students import pretrained


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A finished suite with every kind of result and cached data."""
    folder = tmp_path_factory.mktemp("original")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(folder / "cache"))
        suite = SmallSuite(folder)
        save_language_model(folder / "language")
        pretrained(folder / "base")
        (folder / "corpus.txt").write_text("sun lamp fire\nnight cave coal\n" * 40, encoding="utf-8")
        content = yaml.safe_load(suite.path.read_text(encoding="utf-8"))
        content["teachers"] = {"base": {"model": "./base", "epochs": 1, "lr": 1e-3}}
        content |= {"methods": METHODS, "seeds": [1], "tuning": {"trials": 2}}
        content["general"] = {"data": "corpus.txt", "steps": 4, "batch_size": 8, "max_length": 12, "lr": 1e-3}
        suite.path.write_text(yaml.safe_dump(content), encoding="utf-8")
        assert not suite.run().failed
        return suite, outcome(suite)


@pytest.fixture
def suite(original, tmp_path, monkeypatch):
    """A copy of the suite with its results and its cache."""
    copy = SmallSuite.__new__(SmallSuite)
    copy.folder = shutil.copytree(original[0].folder, tmp_path / "copy", ignore=shutil.ignore_patterns("*.lock"))
    copy.path = copy.folder / original[0].path.name
    monkeypatch.setenv("HARNESS_CACHE", str(copy.folder / "cache"))
    return copy


def results(suite):
    return suite.folder / "results" / "small"


def test_sound_folders(suite, capsys):
    for folder in (suite.folder / "results", results(suite), suite.folder / "cache"):
        assert check_folder(folder, repair=False) == 0
        assert "sound (" in capsys.readouterr().out
    assert not (results(suite) / set_aside.NAME).exists()


DAMAGED = [
    "plan.json",
    "runs/*/record.json",
    "runs/*/predictions.parquet",
    "runs/*/student/model.safetensors",
    "runs/*/student/config.json",
    "runs/*/checksums.json",
    "teachers/*/record.json",
    "teachers/*/predictions.parquet",
    "general/*/student/model.safetensors",
    "tuning/*.json",
    "examples/*.parquet",
]


def damage(file):
    """Damage a file so that each format notices it: not every bit of a parquet file has a checksum of its own."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def test_every_kind_of_damage_to_results_is_found_and_repaired(original, suite, capsys):
    for pattern in DAMAGED:
        file = sorted(results(suite).glob(pattern))[0]
        before = file.read_bytes()
        damage(file)
        assert check_folder(results(suite), repair=False) == 1, pattern
        output = capsys.readouterr().out
        assert "damaged" in output
        assert f"{results(suite)}: 1 of " in output
        assert "--repair" in output
        if pattern.startswith(("runs", "plan", "examples")):
            assert check_folder(results(suite), repair=True) == 0
            assert "1 set aside in" in capsys.readouterr().out
            assert not file.exists()
            aside = next((results(suite) / set_aside.NAME).rglob(file.name))
            assert aside.read_bytes() == before[: len(before) // 2], "nothing is deleted"
            shutil.rmtree(results(suite) / set_aside.NAME)
            assert not suite.run().failed
        else:
            file.write_bytes(before)
        assert check_folder(results(suite), repair=False) == 0, pattern
        capsys.readouterr()
    assert outcome(suite) == original[1]


def test_all_that_is_damaged_at_once(original, suite, capsys):
    for pattern in ("teachers/*/record.json", "general/*/record.json", "tuning/*.json", "runs/*/record.json"):
        damage(sorted(results(suite).glob(pattern))[0])
    for kind in KINDS:
        damage_largest(suite.folder / "cache", kind, flip_a_bit)
    assert check_folder(results(suite), repair=True) == 0
    assert "4 set aside in" in capsys.readouterr().out
    assert check_folder(suite.folder / "cache", repair=True) == 0
    aside = list((suite.folder / "cache" / set_aside.NAME).glob("*/*/*"))
    assert {path.parent.name for path in aside} == set(KINDS)
    assert f"{len(aside)} set aside in" in capsys.readouterr().out
    assert not suite.run().failed
    assert outcome(suite) == original[1]


def test_a_damaged_checkpoint_and_journal(suite, capsys):
    checkpoints = results(suite) / "checkpoints"
    (trials := checkpoints / unfinished_tuning(suite)).mkdir(parents=True)
    (trials / "0123.pt").write_bytes(b"no checksum")
    journal = next(results(suite).glob("tuning/*.log"))
    journal.write_bytes(journal.read_bytes().replace(b'"seconds"', b'"seconbs"', 1))
    assert check_folder(results(suite), repair=True) == 0
    output = capsys.readouterr().out
    assert "0123.pt" in output
    assert "line 2 of" in output
    assert "2 set aside" in output


def unfinished_tuning(suite):
    """Make a tuning of the finished suite unfinished. Returns its key."""
    record = next(results(suite).glob("tuning/*.json"))
    record.unlink()
    return record.stem


def test_checkpoints_from_which_nothing_continues_are_leftovers(suite, capsys):
    store, cache = Store(results(suite)), suite.folder / "cache"
    run, study = store.plan().runs[0].key, unfinished_tuning(suite)
    useless = [store.checkpoint("not-planned"), store.checkpoint("trial", "not-planned-either")]
    useful = [store.checkpoint(run), store.checkpoint("trial", study), cache / "teachers" / "0123.pt"]
    for path in (*useless, *useful):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"state")
        checksums.append(path)
    for folder in (store.folder, cache):
        assert check_folder(folder, repair=False) == 0, "they do no harm"
    assert capsys.readouterr().out.count(" leftover ") == len(useless)
    for folder in (store.folder, cache):
        assert check_folder(folder, repair=True) == 0
    assert not any(path.exists() for path in useless)
    assert all(path.exists() for path in useful)


def test_leftovers_and_claims_are_listed(suite, capsys):
    folder = results(suite) / "runs"
    leftover = folder / f"student.{process_identity.machine()}-{2**22 + 1}-00{atomic_writes.SUFFIX}"
    leftover.mkdir()
    mine = folder / f"student.{process_identity.machine()}-{os.getpid()}-00{atomic_writes.SUFFIX}"
    mine.touch()
    (folder / "0123.claim").mkdir()
    assert check_folder(results(suite), repair=False) == 0, "they do no harm"
    lines = capsys.readouterr().out.splitlines()
    assert any(leftover.name in line and "leftover" in line for line in lines)
    assert any(mine.name in line and "may still be writing" in line for line in lines)
    assert any("0123.claim" in line and "claimed" in line for line in lines)
    check_folder(results(suite), repair=True)
    assert not leftover.exists()
    assert mine.exists()
    assert (folder / "0123.claim").exists()


@pytest.mark.parametrize(("number", "code"), [(errno.EIO, 0), (errno.EACCES, 1)])
def test_a_file_that_cannot_be_read(suite, monkeypatch, capsys, number, code):
    """An unreadable sector is set aside. A file that this user may not read is not: that would repair nothing."""
    file, real = next(results(suite).glob("runs/*/predictions.parquet")), checksums.of_file

    def of_file(path):
        if path == file:
            raise OSError(number, os.strerror(number), str(path))
        return real(path)

    monkeypatch.setattr(checksums, "of_file", of_file)
    assert check_folder(results(suite), repair=False) == 1
    assert check_folder(results(suite), repair=True) == code
    assert "unreadable" in capsys.readouterr().out
    assert file.exists() == bool(code)


def test_removed_data_is_no_damage(suite, capsys):
    """Users delete students to save space, and predictions, which a board does not need."""
    folder = next((results(suite) / "runs").iterdir())
    shutil.rmtree(folder / "student")
    (folder / "predictions.parquet").unlink()
    assert check_folder(results(suite), repair=True) == 0
    assert folder.exists()
    assert "student was removed" in capsys.readouterr().out
    shutil.copytree(folder.parent, folder.parent.with_name("copy"))
    for path in folder.parent.iterdir():
        if (path / "student").exists():
            (path / "student" / "config.json").unlink()
    assert check_folder(results(suite), repair=False) == 1, "part of a student"


def test_results_of_older_versions_are_sound(suite):
    for path in results(suite).glob("*/*/checksums.json"):
        path.unlink()
    assert check_folder(results(suite), repair=False) == 0


def test_results_of_another_format_are_listed_and_stay(suite, capsys):
    record, plan = sorted(results(suite).glob("runs/*/record.json"))[0], results(suite) / "plan.json"
    for path in (record, plan):
        path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    assert check_folder(results(suite), repair=False) == 1
    assert "damaged" in capsys.readouterr().out, "the checksum tells that nobody wrote this version"
    checksums.add(record.parent, record)
    assert check_folder(results(suite), repair=True) == 1
    output = capsys.readouterr().out
    assert output.count("other version") == 2
    assert "cannot be used; see above" in output
    assert record.exists()
    assert plan.exists()
    assert not (results(suite) / set_aside.NAME).exists()


def run(monkeypatch, *arguments):
    monkeypatch.setattr(app, "gc", SimpleNamespace(disable=lambda: None, freeze=lambda: None))
    monkeypatch.setattr(sys, "argv", ["harness", "doctor", *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        app.main()
    return exited.value.code or 0


def test_the_command(suite, monkeypatch, capsys, tmp_path):
    assert run(monkeypatch, results(suite)) == 0
    damage(next(results(suite).glob("runs/*/record.json")))
    assert run(monkeypatch, results(suite)) == 1
    assert run(monkeypatch, results(suite), "--repair") == 0
    capsys.readouterr()
    (tmp_path / "empty").mkdir()
    assert run(monkeypatch, tmp_path / "empty") == 2
    assert "neither a results folder nor a cache; the cache is " in capsys.readouterr().err
    assert run(monkeypatch, tmp_path / "absent") == 2
    assert "no such folder" in capsys.readouterr().err
    assert run(monkeypatch, "--repair") == 2
    assert "--repair needs a folder" in capsys.readouterr().err
