"""Writes are complete or absent, with concurrent writers and kills; leftovers are removed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.storage import atomic_writes
from tests.support.patience import PATIENCE

DIES = """
import os, sys
from pathlib import Path
from harness.storage import atomic_writes as atomic

def half(path):
    path.mkdir() if sys.argv[2] == "folder" else path.touch()
    os._exit(9)

atomic.write(Path(sys.argv[1]), half)
"""

WRITES = """
import sys
from pathlib import Path
from harness.storage import atomic_writes as atomic

folder, letter = Path(sys.argv[1]), sys.argv[2]

def fill(path):
    path.mkdir()
    for name in "ab":
        (path / name).write_text(letter)

for _ in range(25):
    atomic.write_text(folder / "plan.json", letter * 100_000)
    atomic.write(folder / "student", fill)
"""


def process(source, *arguments):
    return subprocess.Popen([sys.executable, "-c", source, *map(str, arguments)], stderr=subprocess.PIPE, text=True)


def wait(*processes):
    return [(process.communicate(timeout=PATIENCE)[1], process.returncode) for process in processes]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fails(path):
    path.write_text("half of it")
    raise KeyboardInterrupt


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "run.pt"
    atomic_writes.write_text(target, "whole")
    with pytest.raises(KeyboardInterrupt):
        atomic_writes.write(target, fails)
    assert target.read_text() == "whole"
    assert names(tmp_path) == ["run.pt"]


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("then", [atomic_writes.forget, lambda target: atomic_writes.write_text(target, "whole")])
def test_the_next_write_removes_the_leftovers_of_a_kill(tmp_path, kind, then):
    target = tmp_path / "run.pt"
    assert wait(process(DIES, target, kind)) == [("", 9)]
    (leftover,) = names(tmp_path)
    assert leftover.startswith("run.pt.")
    assert leftover.endswith(".partial")
    atomic_writes.write_text(tmp_path / "another.pt", "of another target")
    assert leftover in names(tmp_path)
    then(target)
    assert leftover not in names(tmp_path)


@pytest.mark.parametrize("name", ["run.pt.partial", "run.pt.0badcafe-1-12345678.partial"])
def test_leftovers_of_other_machines_are_removed_only_if_old(tmp_path, name):
    """Of an older version or another machine: whether the process has ended is unknown."""
    leftover = tmp_path / name
    leftover.mkdir()
    (leftover / "weights").touch()
    old = leftover.stat().st_mtime - 2 * atomic_writes.MAX_AGE
    os.utime(leftover, (old, old))
    atomic_writes.write_text(tmp_path / "run.pt", "whole")
    assert leftover.exists(), "something in it has just been written"
    os.utime(leftover / "weights", (old, old))
    atomic_writes.write_text(tmp_path / "run.pt", "whole")
    assert names(tmp_path) == ["run.pt"]


def test_a_write_does_not_disturb_a_concurrent_one(tmp_path):
    target = tmp_path / "plan.json"

    def slow(path: Path) -> None:
        path.write_text("the first to begin")
        atomic_writes.write_text(target, "the second")
        atomic_writes.forget(tmp_path / "other")
        assert target.read_text() == "the second"

    atomic_writes.write(target, slow)
    assert target.read_text() == "the first to begin", "the last to end"
    assert names(tmp_path) == ["plan.json"]


def test_a_folder_replaces_one_that_was_written_meanwhile(tmp_path):
    target = tmp_path / "student"

    def fill(path: Path) -> None:
        path.mkdir()
        (path / "first").touch()

    def slow(path: Path) -> None:
        atomic_writes.write(target, fill)
        path.mkdir()
        (path / "second").touch()

    atomic_writes.write(target, slow)
    assert names(target) == ["second"]
    assert names(tmp_path) == ["student"]


def test_two_processes_write_to_one_folder(tmp_path):
    """A reader always sees a complete file of one of them, and neither fails."""
    writers = [process(WRITES, tmp_path, letter) for letter in "xy"]
    read = set()
    while any(writer.poll() is None for writer in writers):
        if (tmp_path / "plan.json").exists():
            read.add((tmp_path / "plan.json").read_text())
    assert wait(*writers) == [("", 0), ("", 0)]
    assert read <= {letter * 100_000 for letter in "xy"}
    assert read
    assert len({path.read_text() for path in (tmp_path / "student").iterdir()}) == 1
    assert names(tmp_path / "student") == ["a", "b"]
    assert names(tmp_path) == ["plan.json", "student"]


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750), (0o077, 0o600, 0o700)]
)
def test_files_of_private_writers_get_the_permissions_of_the_umask(tmp_path, umask, file, folder):
    def fill(path):
        path.mkdir()
        (path / "inner").mkdir(mode=0o700)
        for name in ("weights", "inner/more"):
            (path / name).touch()
            (path / name).chmod(0o600)

    before = os.umask(umask)
    try:
        atomic_writes.write(tmp_path / "student", fill)
    finally:
        os.umask(before)
    found = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "student").rglob("*")}
    assert found == {"weights": file, "inner": folder, "more": file}
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_a_checkpoint_of_safetensors_is_readable_by_others(tmp_path):
    import torch
    from safetensors.torch import save_file

    before = os.umask(0o022)
    try:
        atomic_writes.write(tmp_path / "model.safetensors", lambda path: save_file({"a": torch.zeros(2)}, path))
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644
