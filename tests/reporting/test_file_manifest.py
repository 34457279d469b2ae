"""A report writes and removes its own files only: edited files, files of others and symbolic links stay."""

import logging
import os

import pytest

from harness.api.errors import UserError
from harness.reporting import file_manifest
from harness.storage import atomic_writes

FIRST = {"board.md": "first", "plots/a.png": b"a", "plots/b.png": b"b"}
SECOND = {"board.md": "second", "plots/a.png": b"a"}


def contents(folder):
    """The files below the folder, but for the manifest."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != file_manifest.NAME)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_files_that_are_no_longer_produced_are_removed(tmp_path):
    file_manifest.replace(tmp_path, FIRST)
    file_manifest.replace(tmp_path, SECOND)
    assert contents(tmp_path) == {"board.md": b"second", "plots/a.png": b"a"}


def test_files_of_others_are_kept(tmp_path):
    file_manifest.replace(tmp_path, FIRST)
    (tmp_path / "plots" / "mine.png").write_bytes(b"mine")
    (tmp_path / "board.md.my.partial").write_bytes(b"not of an interrupted write")
    os.utime(tmp_path / "board.md.my.partial", (0, 0))
    file_manifest.replace(tmp_path, SECOND)
    assert contents(tmp_path).keys() == {"board.md", "plots/a.png", "plots/mine.png", "board.md.my.partial"}


@pytest.mark.parametrize("manifest", [None, "", "[]", '{"xxh3": "0", "content": {"version": 1, "files": {}}}'])
def test_without_a_valid_manifest_nothing_is_removed(tmp_path, manifest):
    file_manifest.replace(tmp_path, FIRST)
    (tmp_path / file_manifest.NAME).unlink()
    if manifest is not None:
        (tmp_path / file_manifest.NAME).write_text(manifest)
    file_manifest.replace(tmp_path, SECOND)
    assert contents(tmp_path) == {"board.md": b"second", "plots/a.png": b"a", "plots/b.png": b"b"}


def test_an_edited_file_is_kept_and_named_once(tmp_path, caplog):
    file_manifest.replace(tmp_path, FIRST)
    (tmp_path / "plots" / "b.png").write_bytes(b"B")
    with caplog.at_level(logging.WARNING):
        file_manifest.replace(tmp_path, SECOND)
        file_manifest.replace(tmp_path, SECOND)
    assert contents(tmp_path)["plots/b.png"] == b"B"
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'plots' / 'b.png'} is not in the report any more; it was edited and is kept"
    ]


def test_an_edited_file_that_is_replaced_is_set_aside(tmp_path, caplog):
    file_manifest.replace(tmp_path, FIRST)
    for text in ("edited", "edited again"):
        (tmp_path / "board.md").write_text(text)
        file_manifest.replace(tmp_path, SECOND)
    files = contents(tmp_path)
    assert files["board.md"] == b"second"
    assert files["board.md.edited-1"] == b"edited"
    assert files["board.md.edited-2"] == b"edited again"
    assert len(caplog.records) == 2
    assert "it is now board.md.edited-1" in caplog.text


@pytest.mark.parametrize("written", range(5))
def test_after_an_interruption_the_next_report_knows_all_its_files(tmp_path, monkeypatch, caplog, written):
    """`written`: the number of complete writes before the interruption; the first is that of the manifest."""
    file_manifest.replace(tmp_path, FIRST)
    write, left = atomic_writes.write_bytes, iter(range(written))

    def interrupted(path, content):
        if next(left, None) is None:
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(atomic_writes, "write_bytes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            file_manifest.replace(tmp_path, {"board.md": "third", "plots/c.png": b"c", "plots/d.png": b"d"})
    file_manifest.replace(tmp_path, SECOND)
    assert contents(tmp_path) == {"board.md": b"second", "plots/a.png": b"a"}
    assert caplog.text == ""


def test_only_removable_files_are_removed(tmp_path):
    file_manifest.replace(tmp_path, FIRST)
    file_manifest.replace(tmp_path, {"latency.md": "1"}, removable=["plots/a.png"])
    assert contents(tmp_path).keys() == {"board.md", "plots/b.png", "latency.md"}
    file_manifest.replace(tmp_path, {})
    assert contents(tmp_path) == {}, "the others are still in the manifest"


def test_nothing_to_write_leaves_no_manifest(tmp_path):
    file_manifest.replace(tmp_path / "none", {})
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["../outside.md", "/outside.md", "plots/../../outside.md"])
def test_a_manifest_with_paths_outside_the_folder_is_not_used(tmp_path, name):
    folder = tmp_path / "results"
    file_manifest.replace(folder, {"outside.md": "x"})
    (tmp_path / "outside.md").write_text("x")
    path = folder / file_manifest.NAME
    document = file_manifest._Manifest.model_construct(files={name: file_manifest._read(folder)["outside.md"]})
    file_manifest.checksums.write_json(path, document)
    file_manifest.replace(folder, {"board.md": "x"})
    assert (tmp_path / "outside.md").exists()


def linked_folder(folder, outside):
    (folder / "plots").rename(outside)
    (folder / "plots").symlink_to(outside)
    return "plots"


def linked_file(folder, outside):
    outside.mkdir()
    (folder / "board.md").rename(outside / "board.md")
    (folder / "board.md").symlink_to(outside / "board.md")
    return "board.md"


def linked_manifest(folder, outside):
    outside.mkdir()
    (folder / file_manifest.NAME).rename(outside / "manifest")
    (folder / file_manifest.NAME).symlink_to(outside / "manifest")
    return file_manifest.NAME


@pytest.mark.parametrize("link", [linked_folder, linked_file, linked_manifest])
def test_links_are_refused_before_anything_changes(tmp_path, link):
    folder, outside = tmp_path / "results", tmp_path / "outside"
    file_manifest.replace(folder, FIRST)
    name = link(folder, outside)
    before = contents(tmp_path)
    with pytest.raises(UserError) as error:
        file_manifest.replace(folder, SECOND)
    (problem,) = error.value.problems
    assert problem.where == str(folder / name)
    assert f"is a symbolic link to {outside}" in problem.message
    assert contents(tmp_path) == before


def test_nothing_is_removed_through_a_link(tmp_path):
    folder, outside = tmp_path / "results", tmp_path / "outside"
    file_manifest.replace(folder, FIRST)
    linked_folder(folder, outside)
    file_manifest.replace(folder, {"board.md": "second"})
    assert contents(outside) == {"a.png": b"a", "b.png": b"b"}


def test_the_results_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    file_manifest.replace(tmp_path / "results", FIRST)
    file_manifest.replace(tmp_path / "results", SECOND)
    assert contents(tmp_path / "disk") == {"board.md": b"second", "plots/a.png": b"a"}


@pytest.mark.parametrize(
    ("name", "words"), [("board.md/", "is a folder, expected a file"), ("plots", "is a file, expected a folder")]
)
def test_files_and_folders_in_the_way_are_refused_before_anything_changes(tmp_path, name, words):
    path = tmp_path / name
    if name.endswith("/"):
        path.mkdir()
    else:
        path.touch()
    with pytest.raises(UserError, match=words) as error:
        file_manifest.replace(tmp_path, FIRST)
    assert error.value.problems[0].where == str(path)
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


def linked(folder, target="../runs/a", **files):
    (folder / "runs" / "a").mkdir(parents=True, exist_ok=True)
    file_manifest.replace(folder, {"board.md": "board", "best/small": file_manifest.Link(target), **files})
    return folder / "best" / "small"


def test_a_link_is_relative_and_survives_moving_the_folder(tmp_path):
    link = linked(tmp_path / "results")
    assert str(link.readlink()) == "../runs/a"
    (tmp_path / "results").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / "best" / "small"
    assert moved.resolve() == (tmp_path / "moved" / "runs" / "a").resolve()


def test_a_link_is_replaced_and_removed_with_its_report(tmp_path):
    linked(tmp_path)
    (tmp_path / "runs" / "b").mkdir()
    (tmp_path / "runs" / "b" / "weights").write_text("weights")
    assert str(linked(tmp_path, "../runs/b").readlink()) == "../runs/b"
    file_manifest.replace(tmp_path, {"board.md": "board"})
    assert not os.path.lexists(tmp_path / "best" / "small")
    assert (tmp_path / "runs" / "b" / "weights").read_text() == "weights"


def test_a_link_whose_target_is_gone_is_replaced(tmp_path):
    link = linked(tmp_path)
    (tmp_path / "runs" / "a").rmdir()
    file_manifest.replace(tmp_path, {"best/small": file_manifest.Link("../runs/b")})
    assert str(link.readlink()) == "../runs/b"


@pytest.mark.parametrize("other", ["link", "folder", "file", "parent"])
def test_what_is_at_the_place_of_a_link_stays(tmp_path, caplog, other):
    (tmp_path / "mine").mkdir()
    place = tmp_path / "best" / "small"
    if other == "parent":
        (tmp_path / "best").symlink_to(tmp_path / "mine")
    else:
        place.parent.mkdir()
        {"link": lambda: place.symlink_to("../mine"), "folder": place.mkdir, "file": lambda: place.write_text("mine")}[
            other
        ]()
    before = contents(tmp_path)
    with caplog.at_level(logging.WARNING):
        linked(tmp_path)
    assert {name: content for name, content in contents(tmp_path).items() if name != "board.md"} == before
    assert "is not written" in caplog.text
    assert (tmp_path / "board.md").read_text() == "board"
    file_manifest.replace(tmp_path, {"board.md": "board"})
    assert os.path.lexists(place) is (other != "parent")


def test_a_file_takes_the_place_of_an_own_link(tmp_path):
    link = linked(tmp_path)
    file_manifest.replace(tmp_path, {"best/small": "text"})
    assert not link.is_symlink()
    assert link.read_text() == "text"
    assert list((tmp_path / "runs" / "a").iterdir()) == []


def test_without_rights_to_link_the_report_is_written(tmp_path, monkeypatch):
    def refuse(self, target, target_is_directory=False):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    assert not os.path.lexists(linked(tmp_path))
    assert contents(tmp_path) == {"board.md": b"board"}
