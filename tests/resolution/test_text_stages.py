"""What a method says of its preparation, its stage on text above all, is asked and checked before any training."""

import pytest

PLUGIN = """\
from harness import Cofinetuning, General, Method, Needs, Stage, hookimpl, layers

class Texty(Method):
    name = "texty"

    def cofinetuning(self):
        return Cofinetuning(1 / 0) if MODE == "group" else None

    def general(self):
        if MODE == "raise":
            raise RuntimeError("words ran out")
        student = ["pooled"] if MODE == "pooled" else layers("hidden", [1])
        teacher = layers("hidden", [{"deep": 5, "between": 4}.get(MODE, 1)])
        stage = Stage("a" if MODE == "twin" else "text", Needs(student, [teacher] * (2 if MODE == "two" else 1)))
        return General(stage, assistant={"layers": 3} if MODE == "between" else None)

    def stages(self):
        return [Stage("a", Needs(["logits"]))]

    def losses(self, step, batch, student, teachers):
        return {}

@hookimpl
def harness_register_methods(register):
    register(Texty)
"""
SUITE = """\
name: good
tasks: [sst2, rte]
teachers:
  big: {architecture: {layers: 4, hidden: 64, heads: 4, ffn: 128}}
students:
  small: {layers: 2, init: uniform}
methods:
- texty
plugins: [texty.py]
general: {data: some/text, steps: 9}
"""


@pytest.fixture
def told(write, complaints):
    def told(mode, text=SUITE):
        write(f"MODE = {mode!r}\n{PLUGIN}", "texty.py")
        return complaints(text)

    return told


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("raise", ["'texty' failed", "RuntimeError: words ran out"]),
        ("group", ["'texty' failed", "ZeroDivisionError"]),
        ("deep", ["fits no student", "hidden[5] is requested, but big has 4 layers", "`general: false` goes on"]),
        ("pooled", ["pooled is requested, but small predicts tokens", "`general: false` goes on"]),
        ("two", ["stage 'text' asks 2 teachers", "it has 1", "`general: false` goes on"]),
        ("between", ["hidden[4] is requested, but assistant of small has 3 layers"]),
        ("twin", ["stages with names of their own", "a, a"]),
    ],
)
def test_what_cannot_be_is_told(told, mode, words):
    (found,) = told(mode)
    assert [word for word in ["suite.yaml:8", *words] if word not in found] == [], found


def test_a_good_one_has_no_problem(told):
    assert told("") == []


@pytest.mark.parametrize("mode", ["raise", "deep", "two", "twin"])
def test_a_stage_that_nobody_begins_with_is_not_asked_about(told, mode):
    assert told(mode, SUITE.replace("- texty", "- texty: {general: false}")) == []
    assert told(mode, SUITE.replace("general: {data: some/text, steps: 9}\n", "")) == []
