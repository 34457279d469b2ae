"""Derived values are computed once, and again as soon as anything that they depend on has changed."""

import importlib
import logging
import os
import sys

import pytest
from pydantic import BaseModel

from harness.storage import derived_values
from harness.storage.derived_values import derived


class Text(BaseModel):
    text: str


@pytest.fixture
def folder(tmp_path, monkeypatch, settled_files):
    """A folder with a file `data.txt`; the cache is empty."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "data.txt").write_text("one")
    return tmp_path / "files"


class Reader:
    """Reads the files of a folder as a derived value, and counts how often it does."""

    def __init__(self, folder, **options):
        self.folder, self.options, self.count = folder, options, 0

    def compute(self):
        self.count += 1
        return Text(text=" ".join(file.read_text() for file in sorted(self.folder.iterdir())))

    def __call__(self, **inputs):
        options = {"files": self.folder.iterdir, **self.options}
        return derived("texts", {"folder": str(self.folder), **inputs}, Text, self.compute, **options).text


def test_a_value_is_computed_once(folder):
    read = Reader(folder)
    assert [read(), read()] == ["one", "one"]
    assert read.count == 1
    assert read(more=1) == "one"
    assert read.count == 2


def rewrite_with_the_same_size_and_times(folder):
    file = folder / "data.txt"
    stat = file.stat()
    file.write_text("two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replace_by_another_file(folder):
    (folder / "new.txt").write_text("two")
    (folder / "new.txt").replace(folder / "data.txt")


def add_a_file(folder):
    (folder / "more.txt").write_text("two")


def remove_the_file(folder):
    (folder / "data.txt").unlink()


@pytest.mark.parametrize(
    "change", [rewrite_with_the_same_size_and_times, replace_by_another_file, add_a_file, remove_the_file]
)
def test_a_changed_file_is_seen_at_once(folder, change):
    read = Reader(folder)
    read()
    change(folder)
    assert read() == read.compute().text


def test_a_file_that_has_just_changed_is_not_trusted(folder, monkeypatch):
    """Two changes within one tick of the file system's clock leave the same times."""
    monkeypatch.setattr(derived_values, "SETTLED", 3600.0)
    read = Reader(folder)
    read(), read()
    assert read.count == 2


def test_unknown_files_are_never_cached(folder):
    read = Reader(folder, files=lambda: None)
    read(), read()
    assert read.count == 2


def test_another_version_of_a_package_is_seen_at_once(folder, monkeypatch):
    read = Reader(folder)
    read()
    monkeypatch.setattr(derived_values, "_versions", lambda: ("torch 99",))
    read()
    assert read.count == 2


def test_an_edited_plugin_is_seen_at_once(folder, tmp_path, monkeypatch):
    package = tmp_path / "guest_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "loading.py").write_text("def load(): return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    load = importlib.import_module("guest_package.loading").load
    try:
        read = Reader(folder, code=load)
        read(), read()
        assert read.count == 1
        (package / "loading.py").write_text("def load(): return 2\n")
        derived_values._code_of.cache_clear()  # as in a new process
        read()
        assert read.count == 2
    finally:
        sys.modules.pop("guest_package", None)
        sys.modules.pop("guest_package.loading", None)


def test_a_warning_is_logged_every_time(folder, caplog):
    read = Reader(folder)
    compute = read.compute

    def warn():
        logging.getLogger("harness.tasks").warning("look")
        return compute()

    read.compute = warn
    read(), read()
    assert caplog.messages == ["look", "look"]


def entries(tmp_path):
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\x00", b'{"xxh3": "0", "content": {}}'])
def test_a_damaged_entry_is_computed_again(folder, tmp_path, content):
    read = Reader(folder)
    read()
    (entry,) = entries(tmp_path)
    entry.write_bytes(content)
    assert read() == "one"
    assert read.count == 2


def test_a_cache_that_cannot_be_written_costs_only_time(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    read = Reader(folder)
    assert [read(), read()] == ["one", "one"]
    assert read.count == 2


def test_an_entry_is_replaced_when_a_file_changes(folder, tmp_path):
    read = Reader(folder)
    for number in range(3):
        (folder / "data.txt").write_text(f"text {number}")
        read()
    assert len(entries(tmp_path)) == 1
