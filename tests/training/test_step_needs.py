"""`Method.needs`: outputs that a method reads at single steps only."""

import pytest
from transformers.integrations import sdpa_attention

from harness import Method, Needs, Stage, layers
from harness.api.losses import task_loss
from harness.training.run import Run
from tests.support.training_world import alone, assert_same, train


class EveryOther(Method):
    """Reads layer 1 of both models at even steps, and nothing of the teacher at odd ones."""

    name = "every other"

    def stages(self):
        return [Stage("only", Needs(["logits", *layers("hidden", [1, 2])], [layers("hidden", [1, 4])]), steps=4)]

    def needs(self, step):
        return Needs(["logits", "hidden[1]"], [["hidden[1]"]]) if step.index % 2 == 0 else Needs(["logits"])

    def losses(self, step, batch, student, teachers):
        (teacher,) = teachers
        even = step.index % 2 == 0
        assert (set(teacher.hidden), set(student.hidden)) == (({1}, {1}) if even else (set(), set()))
        hint = (student.hidden[1].sum(-1) - teacher.hidden[1].sum(-1)).square().mean() if even else 0.0
        return {"task": task_loss(student.logits, batch) + hint}


def test_a_teacher_runs_only_to_the_deepest_layer_of_the_step(world, monkeypatch):
    here, ran = world(batching="random"), []
    run = here.run(EveryOther)
    cohort = here.cohort(run)
    fused = sdpa_attention.sdpa_attention_forward
    monkeypatch.setattr(
        sdpa_attention, "sdpa_attention_forward", lambda *a, **k: ran.append(run.position) or fused(*a, **k)
    )
    train(cohort)
    assert run.error is None
    student, teacher = 2, 1
    assert [ran.count(step) for step in range(4)] == [teacher + student, student, teacher + student, student]
    assert run.cost.teacher_forwards == 2


def test_members_of_a_cohort_with_other_needs_keep_their_bits(world):
    here = world()
    company = [EveryOther, "tinybert", "logit_kd"]
    expected = [alone(here, method, {}, 1) for method in company]
    runs = [here.run(method) for method in company]
    train(here.cohort(*runs))
    for run, bits in zip(runs, expected, strict=True):
        assert_same(run, bits)


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (Needs(["logits", "hidden[1]", "pooled"]), "pooled of the student, which stage 'only' does not declare"),
        (Needs(["logits"], [["scores[1]"]]), "scores[1] of teacher 1, which stage 'only' does not declare"),
        (Needs(["logits"], [[], []]), "outputs of 2 teachers; stage 'only' declares 1"),
    ],
)
def test_needs_beyond_those_of_the_stage_fail_the_run_before_its_first_step(world, needs, words):
    class Wrong(EveryOther):
        def needs(self, step):
            return needs

    run = world().run(Wrong)
    assert isinstance(run, Run)
    assert words in run.error
    assert run.error.startswith("before step 1 (only)")


def test_needs_that_fail_later_fail_only_that_run(world):
    class Late(EveryOther):
        def needs(self, step):
            return Needs(["pooled"]) if step.index == 2 else super().needs(step)

    here = world()
    bad, good = here.run(Late), here.run("logit_kd")
    train(here.cohort(bad, good))
    assert bad.error.startswith("step 3 (only)")
    assert good.error is None
