"""Options that have no effect in a suite are errors."""

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
        (
            suite("tinybert: {per_task: {squad: {augment: {model: a/b}}}}", "squad, sst2"),
            "tinybert.per_task.squad.augment",
            ["does not use it on squad; remove"],
        ),
        (
            suite("tinybert: {augment: {model: a/b}, per_task: {sst2: {augment: false}}}", "squad, sst2"),
            "tinybert.augment",
            ["does not use it on squad; remove"],
        ),
        (
            suite("minilm: {per_task: {sst2: {assistant: true}}}"),
            "minilm.per_task.sst2.assistant",
            ["the suite has none"],
        ),
    ],
)
def test_unused_options_are_reported_with_their_key(suite_problems, text, key, words):
    (message,) = suite_problems(text)
    words = [*words, "suite.yaml:9: ", f"methods.{key}: has no effect"]
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize(
    "text",
    [
        suite("minilm: {assistant: true}", rest=TEXT),
        suite("minilm: {assistant: false}"),
        suite("minilm: {grid: {assistant: [false, true]}}", rest=TEXT),
        suite("tinybert: {augment: {model: a/b}}"),
        suite("tinybert: {augment: {model: a/b}}", "squad, sst2"),
        suite("tinybert: {augment: false}", "squad"),
        suite("tinybert: {per_task: {sst2: {augment: {model: a/b}}}}", "squad, sst2"),
        suite("tinybert: {augment: {model: a/b}, per_task: {squad: {augment: false}}}", "squad, sst2"),
        suite("tinybert: {augment: {model: a/b}, per_task: {squad: {temperature: 2}}}", "squad, sst2"),
        suite("tinybert: {per_task: {rte: {augment: {model: a/b}}}}", "squad, sst2"),
        suite("minilm: {per_task: {sst2: {assistant: true}}}", rest=TEXT),
    ],
)
def test_options_with_an_effect_are_valid(suite_problems, text):
    assert suite_problems(text) == []


def test_nothing_is_reported_if_a_model_is_unknown(suite_problems):
    text = suite("minilm: {assistant: true}").replace(
        "architecture: {layers: 4, hidden: 64, heads: 4, ffn: 128}", "model: nobody/none"
    )
    assert suite_problems(text) == []
