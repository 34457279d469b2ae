"""Parsing of suite files: plain data, finite numbers, line numbers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.api.errors import UserError
from harness.config.yaml_tree import Mark, parse, read_file

START = Mark("s.yaml", 1, Path())


def error_message(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(text, START)
    return str(caught.value)


def test_keys_and_items_have_line_numbers():
    root = parse("a:\n  b: 1\n  c:\n  - x\n  - {y: 2}\n", START)
    lines = {path: root.mark_of(path).line for path in [("a",), ("a", "b"), ("a", "c", 0), ("a", "c", 1, "y")]}
    assert lines == {("a",): 1, ("a", "b"): 2, ("a", "c", 0): 4, ("a", "c", 1, "y"): 5}
    assert root.mark_of(("a", "nothing", "here")).line == 1
    assert root.plain() == {"a": {"b": 1, "c": ["x", {"y": 2}]}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-5", 2e-5),
        ("1.0E3", 1000.0),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("no", "no"),
        ("on", "on"),
        ("True", True),
        ("~", None),
        ("", None),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("6x768", "6x768"),
        ("'5'", "5"),
        ("!!str 5", "5"),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    parsed = parse(f"k: {text}", START).plain()["k"]
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch hacked']",
        "!!python/name:os.system",
        "!!python/tuple [1, 2]",
        "!include other.yaml",
        "!!binary aGk=",
        "!!set {a, b}",
        "!custom {a: 1}",
    ],
)
def test_tags_are_rejected_and_not_executed(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = error_message(f"ok: 1\nbad: {value}\n")
    assert "s.yaml:2" in message
    assert value.split()[0] in message
    assert list(tmp_path.iterdir()) == []


def test_exponential_alias_expansion_is_rejected_quickly():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    began = time.thread_time()
    assert "expand to more than" in error_message(bomb)
    assert time.thread_time() - began < 5


def test_recursive_aliases_are_rejected():
    assert "recursive alias" in error_message("a: &a [*a]\n")
    assert "recursive alias" in error_message("a: &a {b: {c: *a}}\n")


def test_plain_aliases_are_allowed():
    assert parse("a: &a {x: 1}\nb: *a\n", START).plain() == {"a": {"x": 1}, "b": {"x": 1}}


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, "{a: " * 5000 + "}" * 5000])
def test_deep_nesting_is_rejected(text):
    assert "nested too deeply" in error_message(text)


def test_all_errors_are_reported_at_once():
    message = error_message("a: 1\na: 2\nb: !x 1\n3: 4\n")
    assert all(f"s.yaml:{line}" in message for line in (2, 3, 4))


def test_forbidden_characters_are_reported_with_their_line():
    assert "s.yaml:2" in error_message("a: 1\nb: \x00\n")


def test_too_large_integers_are_rejected():
    assert "s.yaml:1" in error_message(f"a: {'9' * 5000}\n")


@pytest.mark.parametrize(("content", "words"), [(b"\xff\xfea", "UTF-8"), (b"- a\n", "a list"), (b"", "an empty file")])
def test_files_that_are_not_mappings(tmp_path, content, words):
    file = tmp_path / "s.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_file(file)


def test_byte_order_mark_is_ignored(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: x\n")
    assert read_file(file).plain() == {"name": "x"}
