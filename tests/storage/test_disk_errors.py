"""Errors of the disk, also those that libraries wrap, are one message; errors of the program keep their traceback."""

import errno
import os
import re
import resource
import subprocess
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from harness.storage import atomic_writes, checksums
from harness.storage.disk_errors import DiskError, explained, problem_of

NUMBERS = np.arange(20_000, dtype=np.float64)


def save_torch(path):
    with path.open("wb") as file:
        torch.save(torch.from_numpy(NUMBERS), file)


def save_vocabulary(path):
    Tokenizer(models.WordLevel({str(i): i for i in range(20_000)}, unk_token="0")).save(str(path))


WRITERS = {
    "bytes": lambda path: path.write_bytes(NUMBERS.tobytes()),
    "torch": save_torch,
    "torch, by path": lambda path: torch.save(torch.from_numpy(NUMBERS), path),
    "safetensors": lambda path: save_file({"numbers": torch.from_numpy(NUMBERS)}, path),
    "parquet": lambda path: pd.DataFrame({"numbers": NUMBERS}).to_parquet(path),
    "tokenizers": save_vocabulary,
}


@contextmanager
def file_size_limit(size):
    """Make the kernel refuse to extend files beyond `size` bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def full_disk(tmp_path):
    """A folder on a disk of 64 KiB. Needs the right to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True)
    if mount.returncode:
        pytest.skip("this user cannot mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_a_refused_write_names_the_target(writer, tmp_path):
    target = tmp_path / "results" / "target"
    with file_size_limit(4096), pytest.raises(DiskError) as error:
        atomic_writes.write(target, writer)
    assert str(error.value).startswith(f"{target}: ")
    assert "run the same command again" in str(error.value)
    assert list(target.parent.iterdir()) == [], "the temporary file is removed"


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_is_named_with_its_free_space(writer, full_disk):
    target = full_disk / "target"
    with pytest.raises(DiskError) as error:
        atomic_writes.write(target, writer)
    expected = rf"{re.escape(str(target))}: No space left on device \(0\.[01] MiB free\); free some space"
    assert re.match(expected, str(error.value))


def test_the_old_content_stays_when_the_disk_is_full(full_disk):
    target = full_disk / "target"
    atomic_writes.write_bytes(target, b"old")
    with pytest.raises(DiskError):
        atomic_writes.write_bytes(target, bytes(100_000))
    assert target.read_bytes() == b"old"
    assert list(full_disk.iterdir()) == [target]


def test_a_disk_without_inodes(tmp_path, monkeypatch):
    usage = list(os.statvfs(tmp_path))
    usage[5], usage[7] = 1000, 0  # f_files, f_favail
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(usage))
    with pytest.raises(DiskError, match="no inodes are left for new files"), explained(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_broken_link_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "results").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DiskError) as error:
        atomic_writes.write_text(tmp_path / "results" / "plan.json", "{}")
    assert str(error.value).startswith(f"{tmp_path / 'results'}: File exists; a file or a broken link is in the place")


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(DiskError, match=r"results.*: remove or rename what is there"):
        atomic_writes.write_text(tmp_path / "results" / "runs" / "record.json", "{}")


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(DiskError, match="File name too long; use a shorter name or path"):
        atomic_writes.write_text(tmp_path / ("x" * 300) / "plan.json", "{}")


def test_a_folder_that_vanishes_during_a_write(tmp_path):
    def fill(partial):
        partial.write_text("content")
        partial.parent.rename(tmp_path / "elsewhere")

    with pytest.raises(DiskError, match=r"runs/record\.json: .*was it deleted, moved or unmounted\?"):
        atomic_writes.write(tmp_path / "runs" / "record.json", fill)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EROFS, errno.ESTALE, errno.EMFILE, errno.EDQUOT])
def test_other_errors_of_the_machine(number, tmp_path):
    with pytest.raises(DiskError, match=os.strerror(number)), explained(tmp_path / "file"):
        raise OSError(number, os.strerror(number), str(tmp_path / "file.1234.partial"))


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), OSError("no number"), OSError(errno.EBADF, "bad descriptor"), RuntimeError("size mismatch")],
)
def test_a_bug_keeps_its_type(error, tmp_path):
    with pytest.raises(type(error)) as raised, explained(tmp_path):
        raise error
    assert raised.value is error


def test_only_a_file_whose_folder_is_gone_has_vanished(tmp_path):
    def missing(path):
        return problem_of(FileNotFoundError(errno.ENOENT, "No such file or directory", str(path)))

    assert missing(tmp_path / "file") is None
    assert "unmounted" in str(missing(tmp_path / "gone" / "file"))


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    """The caller of a damaged file computes it again; a failing disk must not cause hours of work."""
    (tmp_path / "weights").write_bytes(b"weights")
    checksums.seal(tmp_path)

    def fail(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(checksums, "of_file", fail)
    with pytest.raises(DiskError, match="weights: Input/output error; check the disk"):
        checksums.verify(tmp_path)
