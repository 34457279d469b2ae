"""Options that decide nothing where they are set: no row of the board may tell of a difference that there is not."""

import pytest

TEXT = "general: {data: some/text, steps: 9}\n"


def suite(methods, tasks="sst2", rest=""):
    return f"""\
name: good
tasks: [{tasks}]
teachers:
  big: {{architecture: {{layers: 4, hidden: 64, heads: 4, ffn: 128}}}}
students:
  small: {{layers: 2, init: uniform}}
methods:
- finetune
- {methods}
{rest}"""


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (suite("minilm: {assistant: true}"), "minilm.assistant", ["the suite has none", "add `general: {data: "]),
        (suite("minilm: {grid: {assistant: [false, true]}}"), "minilm.grid.assistant", ["add `general: {data: "]),
        (
            suite("minilm: {assistant: true, general: false}", rest=TEXT),
            "minilm.assistant",
            ["`general: false` skips", "remove one"],
        ),
        (suite("tinybert: {augment: {model: a/b}}", "squad"), "tinybert.augment", ["does not use it on squad; remove"]),
    ],
)
def test_an_option_that_changes_nothing_is_told_with_its_key(complaints, text, key, words):
    (found,) = complaints(text)
    words = [*words, "suite.yaml:9: ", f"methods.{key}: has no effect"]
    assert [word for word in words if word not in found] == [], found


@pytest.mark.parametrize(
    "text",
    [
        suite("minilm: {assistant: true}", rest=TEXT),
        suite("minilm: {assistant: false}"),
        suite("minilm: {grid: {assistant: [false, true]}}", rest=TEXT),
        suite("tinybert: {augment: {model: a/b}}"),
        suite("tinybert: {augment: {model: a/b}}", "squad, sst2"),
        suite("tinybert: {augment: false}", "squad"),
    ],
)
def test_one_that_decides_something_somewhere_is_right(complaints, text):
    assert complaints(text) == []


def test_where_a_model_is_not_known_nobody_can_tell(complaints):
    text = suite("minilm: {assistant: true}").replace(
        "architecture: {layers: 4, hidden: 64, heads: 4, ffn: 128}", "model: nobody/none"
    )
    assert complaints(text) == []
