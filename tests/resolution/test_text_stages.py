"""Text stages and preparation of methods are checked before any training."""

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
        student = ["pooled"] if MODE == "pooled" else layers("hiden" if MODE == "typo" else "hidden", [1])
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
def problems(write, suite_problems):
    def problems(mode, text=SUITE):
        write(f"MODE = {mode!r}\n{PLUGIN}", "texty.py")
        return suite_problems(text)

    return problems


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("raise", ["'texty' failed", "RuntimeError: words ran out"]),
        ("group", ["'texty' failed", "ZeroDivisionError"]),
        ("deep", ["fits no student", "hidden[5] is requested, but big has 4 layers", "set `general: false`"]),
        ("pooled", ["pooled is requested, but small predicts tokens", "set `general: false`"]),
        ("two", ["stage 'text' needs outputs of 2 teachers", "there are 1", "set `general: false`"]),
        ("between", ["hidden[4] is requested, but assistant of small has 3 layers"]),
        ("typo", ["method 'texty' failed for small", "unknown output 'hiden[1]'; did you mean 'hidden'?"]),
        ("twin", ["duplicate stage names", "a, a"]),
    ],
)
def test_invalid_text_stages_are_reported(problems, mode, words):
    (message,) = problems(mode)
    assert [word for word in ["suite.yaml:8", *words] if word not in message] == [], message


def test_valid_text_stage_has_no_problems(problems):
    assert problems("") == []


@pytest.mark.parametrize("mode", ["raise", "deep", "two", "twin"])
def test_unused_text_stages_are_not_checked(problems, mode):
    assert problems(mode, SUITE.replace("- texty", "- texty: {general: false}")) == []
    assert problems(mode, SUITE.replace("general: {data: some/text, steps: 9}\n", "")) == []
