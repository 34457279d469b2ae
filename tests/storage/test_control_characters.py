"""Control characters of stored files are visible, and nothing else changes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reporting import report
from harness.storage.control_characters import visible, visible_in_json
from tests.support.results_factory import fill, plan

CONTROLS = {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0))} - {"\n", "\t"}


@given(st.text(st.characters(codec="utf-8")), st.booleans())
def test_strings_of_json_have_no_control_characters_and_others_are_equal(text, escaped):
    document = json.dumps({"text": text}, ensure_ascii=escaped)
    read = json.loads(visible_in_json(document))["text"]
    assert not CONTROLS & {*read}
    if not CONTROLS & {*text}:
        assert read == text


@pytest.mark.parametrize("text", ["\\b", "\\\\u001b", "C:\\fonts\\report"])
def test_backslashes_are_not_the_start_of_an_escape(text):
    assert json.loads(visible_in_json(json.dumps(text))) == text


def test_visible_keeps_line_breaks():
    assert visible("a\tb\n\x1b[2J\x9b") == "a\tb\n\\x1b[2J\\x9b"


def test_a_report_of_a_plan_with_escape_sequences_writes_none(tmp_path):
    store = fill(tmp_path, plan(suite="de\x1b[2Jmo", command="harness \x1b]0;title\x07 run"))
    written = report(store.folder)
    texts = [path.read_bytes() for path in written.files if path.suffix != ".png"]
    assert not any(control.encode() in text for text in texts for control in ("\x1b", "\x07"))
    assert any(b"u001b[2Jmo" in text for text in texts)
