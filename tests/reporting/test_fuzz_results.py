"""Damaged results folders: a report is written or refused with a message, and nothing of the user is lost.

One file or more of a small results folder is damaged by a seeded generator: truncated, deleted, replaced by a link or
a folder, or changed in its values. Every seed is a case of its own; to repeat one: ``harness report`` after
`damaged_results.damage` with ``random.Random(seed)``.
"""

import logging
import os
import random
import shutil
from types import SimpleNamespace

import pytest
import xxhash

from harness import plots
from harness.api.errors import UserError
from harness.plugin_host.host import Host
from harness.reporting import file_manifest, report_files
from harness.storage import atomic_writes
from tests.support import damaged_results

CASES, BATCH = int(os.environ.get("HARNESS_FUZZ_FOLDERS", "100")), 50
"""Number of damaged folders. Try 1,000 after a change of what a report reads."""

FIRST = int(os.environ.get("HARNESS_FUZZ_SEED", "0"))
"""Seed of the first case."""

WITH_PAGE, WITH_PLOTS = 3, 50
"""One case of so many writes the page, or draws the plots, which take most of the time."""

MINE = {"notes.md": "mine", "plots/mine.png": "mine", "sections/mine.csv": "mine", "runs/notes.txt": "mine"}


@pytest.fixture(scope="module")
def host():
    return Host.reporting()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, host):
    """A results folder with a report and files of the user."""
    folder = tmp_path_factory.mktemp("whole") / "results"
    damaged_results.whole(folder)
    report_files.write(folder, host)
    for name, text in MINE.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Leaves out what damage does not affect: waiting for the disk."""
    monkeypatch.setattr(atomic_writes, "_sync_one", lambda path: None)


def contents(folder):
    """Path -> checksum of each file, or target of each link, without following links."""
    return {
        path: str(path.readlink()) if path.is_symlink() else xxhash.xxh3_64_hexdigest(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def check(folder, outside, host, *, seed, page, drawn):
    """Damage the folder, write its report, and check what is left. Returns a description of a fault, or None."""
    rng = random.Random(seed)
    done = [damaged_results.damage(folder, rng, outside) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    known = file_manifest._read(folder)
    before, before_outside = contents(folder), contents(outside)
    try:
        with pytest.MonkeyPatch.context() as patch:
            if not page:
                patch.setattr(report_files.page, "page", lambda content, store: ("", SimpleNamespace(names=[])))
            if not drawn:
                patch.setattr(plots, "draw", lambda summary: ())
            report_files.write(folder, host)
        refused = False
    except UserError as error:
        refused = True
        if not all(str(problem).strip() for problem in error.problems):
            return f"seed {seed}, {done}: an empty message"
    except Exception as error:
        return f"seed {seed}, {done}: {type(error).__name__}: {error}"
    after = contents(folder)
    if contents(outside) != before_outside:
        return f"seed {seed}, {done}: something outside of the folder has changed"
    if refused and after != before:
        return f"seed {seed}, {done}: the report was refused, but files have changed"
    lost = lost_files(folder, before, after, known)
    return f"seed {seed}, {done}: lost {lost}" if lost else None


def lost_files(folder, before, after, known):
    """The files that are gone although no report wrote them. `known`: the manifest before; None if it was damaged."""
    names = file_manifest._read(folder) or {}
    kept = set(after.values())

    def replaceable(name, content):
        return name == file_manifest.NAME or (name in names if known is None else content in known.get(name, ()))

    return [
        str(path)
        for path, content in before.items()
        if content not in kept and not replaceable(path.relative_to(folder).as_posix(), content)
    ]


@pytest.mark.parametrize("first", range(FIRST, FIRST + CASES, BATCH))
def test_damaged_folders_are_reported_or_refused(whole, host, quick, tmp_path, caplog, first):
    caplog.set_level(logging.WARNING)
    faults = []
    for seed in range(first, first + BATCH):
        folder, outside = tmp_path / "results", tmp_path / "outside"
        shutil.copytree(whole, folder)
        outside.mkdir()
        (outside / "theirs.txt").write_text("theirs")
        fault = check(folder, outside, host, seed=seed, page=seed % WITH_PAGE == 0, drawn=seed % WITH_PLOTS == 0)
        faults += [fault] if fault else []
        shutil.rmtree(folder)
        shutil.rmtree(outside)
    assert faults == []
    assert [record.getMessage() for record in caplog.records if "failed in" in record.getMessage()] == []
