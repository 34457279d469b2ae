"""What methods support and read, asked with made-up models: kinds of tasks, limits on the student, outputs."""

import pytest

from harness.api.errors import Problem
from harness.api.method import General, Method, Needs, Stage
from harness.plugin_host.host import Host
from harness.resolution.method_support import KINDS, MethodSupport, method_support


class Plain(Method):
    name = "plain"

    def stages(self):
        return [Stage("only", Needs(["logits", "hidden[2]", "hidden[1]"], [["pooled"]] * len(self.teachers)))]

    def losses(self, step, batch, student, teachers):
        return {}


def refusing(refuses):
    """A method that refuses what `refuses` (task, student, teacher) says."""

    class Refusing(Plain):
        def check(self, task, student, teachers):
            if refuses(task, student, *teachers):
                yield Problem(f"not {student.layers} layers on {task.kind}")

    return method_support(Refusing)


def test_a_method_without_limits():
    assert method_support(Plain) == MethodSupport(
        kinds=KINDS,
        depths=tuple(range(1, 13)),
        stages=("only",),
        student=("logits", "hidden"),
        teachers=("pooled",),
    )


def test_limits_on_the_student():
    assert refusing(lambda task, s, t: s.hidden != t.hidden) == MethodSupport(
        **{**vars(method_support(Plain)), "equal_widths": True}
    )
    assert refusing(lambda task, s, t: s.heads != t.heads).equal_heads
    assert not refusing(lambda task, s, t: s.heads != t.heads).equal_widths
    assert refusing(lambda task, s, t: t.layers % s.layers).depths == (1, 2, 3, 4, 6, 12)
    assert refusing(lambda task, s, t: s.layers != t.layers).depths == (12,)


def test_refused_kinds_have_a_reason():
    support = refusing(lambda task, s, t: task.kind in ("classification", "qa"))
    assert support.kinds == ("multilabel", "regression", "token_classification")
    assert support.refused == {kind: f"not 6 layers on {kind}" for kind in ("classification", "qa")}
    assert support.stages == ("only",)
    nothing = refusing(lambda task, s, t: True)
    assert nothing.kinds == nothing.depths == nothing.stages == ()
    assert nothing.refused.keys() == {*KINDS}


@pytest.mark.parametrize(("least", "most", "count"), [(0, 0, 0), (0, None, 1), (1, 1, 1), (2, 5, 2), (3, None, 3)])
def test_a_method_is_asked_with_its_least_teachers(least, most, count):
    counts = set()

    class Counting(Plain):
        min_teachers, max_teachers = least, most

        def check(self, task, student, teachers):
            counts.add((len(teachers), len(self.teachers)))
            return ()

    assert not method_support(Counting).error
    assert counts == {(count, count)}


def test_a_text_stage_is_the_first_stage():
    class OnText(Plain):
        def general(self):
            return General(Stage("text", Needs(["keys[6]"], [["values[12]"]])))

    support = method_support(OnText)
    assert support.text_stage
    assert support.stages == ("text", "only")
    assert (support.student, support.teachers) == (("logits", "hidden", "keys"), ("pooled", "values"))


@pytest.mark.parametrize("member", ["check", "stages", "general"])
def test_an_exception_of_a_method_is_its_error(member):
    def broken(self, *arguments):
        raise RuntimeError("a mistake")

    assert method_support(type("Broken", (Plain,), {member: broken})) == MethodSupport(error="RuntimeError: a mistake")


def test_shipped_methods_can_be_asked():
    supported = {name: method_support(method) for name, method in Host.create().methods.items()}
    assert {name: support.error for name, support in supported.items() if support.error} == {}
    assert all(support.kinds and support.stages for support in supported.values())
    run_themselves = {"lrc_bert", "theseus"}  # run the student in the losses, and declare no outputs of it
    assert {name for name, support in supported.items() if not support.student} == run_themselves
    assert supported["tinybert"].equal_heads
    assert supported["pkd"].equal_widths
    assert supported["finetune"].teachers == ()
