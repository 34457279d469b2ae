"""Checksums of folders, JSON documents and single files."""

import os
import random

import pytest
from pydantic import BaseModel

from harness.storage import checksums
from harness.storage.checksums import CorruptFileError


class Document(BaseModel, extra="forbid"):
    names: dict[str, tuple[int, ...]]
    share: float


DOCUMENT = Document(names={"a": (1, 2), "é": ()}, share=0.1 + 0.2)


def flips(content, count=60):
    draw = random.Random(1)
    for _ in range(count):
        changed = bytearray(content)
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        yield bytes(changed)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "weights").write_bytes(random.Random(0).randbytes(5000))
    (tmp_path / "inner" / "config.json").write_text("{}")
    (tmp_path / "empty").write_bytes(b"")
    checksums.seal(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["weights", "inner/config.json", checksums.NAME])
def test_every_flipped_bit_of_a_folder_is_detected(folder, name):
    content = (folder / name).read_bytes()
    for changed in flips(content):
        (folder / name).write_bytes(changed)
        with pytest.raises(CorruptFileError) as damage:
            checksums.verify(folder)
        assert str(folder) in str(damage.value)
    (folder / name).write_bytes(content)
    checksums.verify(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "weights").unlink(), "weights is missing"),
        (lambda folder: (folder / "weights").write_bytes(b"12"), "has 2 bytes, expected 5000"),
        (lambda folder: (folder / "empty").write_bytes(b"1"), "has 1 bytes, expected 0"),
        (lambda folder: (folder / checksums.NAME).unlink(), "an older version wrote it"),
        (lambda folder: (folder / checksums.NAME).write_text('{"version": 2}'), "cannot be read"),
    ],
)
def test_a_corrupt_file_is_named(folder, damage, message):
    damage(folder)
    with pytest.raises(CorruptFileError, match=message):
        checksums.verify(folder)
    assert not checksums.is_intact(folder)


def test_a_moved_folder_still_matches_its_checksums(folder, tmp_path_factory):
    checksums.verify(folder.rename(tmp_path_factory.mktemp("other") / "place"))


def test_files_that_are_listed_and_exist_are_verified(folder):
    (folder / "more").write_text("unlisted")
    (folder / "empty").unlink()
    checksums.verify_existing(folder)
    (folder / "weights").write_bytes(bytes(5000))
    with pytest.raises(CorruptFileError, match="does not match"):
        checksums.verify_existing(folder)
    (folder / checksums.NAME).unlink()
    checksums.verify_existing(folder)


def test_json_documents(tmp_path):
    path = tmp_path / "document.json"
    with pytest.raises(FileNotFoundError):
        checksums.read_json(path, Document)
    checksums.write_json(path, DOCUMENT)
    assert checksums.read_json(path, Document) == DOCUMENT
    for changed in flips(path.read_bytes(), 200):
        path.write_bytes(changed)
        with pytest.raises(CorruptFileError):
            checksums.read_json(path, Document)
    path.write_text(DOCUMENT.model_dump_json())
    with pytest.raises(CorruptFileError, match="another version"):
        checksums.read_json(path, Document)


def test_an_appended_checksum(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(random.Random(0).randbytes(3000))
    with pytest.raises(CorruptFileError):
        checksums.verify_appended(path)
    checksums.append(path)
    checksums.verify_appended(path)
    content = path.read_bytes()
    for changed in [*flips(content), content[:-1], content + b"\n", b""]:
        path.write_bytes(changed)
        with pytest.raises(CorruptFileError):
            checksums.verify_appended(path)


def test_a_digest_can_be_updated(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one, two")
    digest = checksums.digest_of_prefix(path, 3)
    digest.update(b", two")
    assert digest.hexdigest() == checksums.of_file(path)


def test_a_change_within_a_clock_tick_is_seen(tmp_path, monkeypatch):
    """Until a file has settled, a change of its content may leave all of its times as they are."""
    (path := tmp_path / "file").write_bytes(b"one")
    tick = path.stat()
    monkeypatch.setattr(checksums.os, "fstat", lambda descriptor: tick)
    before = checksums.of_file(path)
    path.write_bytes(b"two")
    assert checksums.of_file(path) != before


def test_a_settled_file_is_read_once(tmp_path, monkeypatch):
    (path := tmp_path / "file").write_bytes(b"one")
    monkeypatch.setattr(checksums, "SETTLED", -3600.0)
    reads, digest = [], checksums._digest
    monkeypatch.setattr(checksums, "_digest", lambda path, size: reads.append(path) or digest(path, size))
    first = [checksums.of_file(path) for _ in range(3)]
    assert len(reads) == 1
    stat = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a copy that keeps the times
    assert checksums.of_file(path) not in first
