"""Names of terms, weights and logged values: duplicates and weights without a term fail the run."""

from typing import ClassVar

import pytest

from harness import Method, Needs, Stage
from harness.api.losses import task_loss
from tests.support.training_world import interrupted


class Named(Method):
    """Two stages with a loss on the labels; tests set the names of terms, weights and logged values."""

    name = "named"
    terms: ClassVar = {"first": "task", "second": "again"}
    logged = ()
    weighed: ClassVar = {}

    def stages(self):
        return [Stage(name, Needs(student=["logits"])) for name in ("first", "second")]

    def losses(self, step, batch, student, teachers):
        for name in self.logged:
            step.log(name, 1.0)
        return {self.terms[step.stage.name]: task_loss(student.logits, batch)}

    def weights(self, step):
        return self.weighed


def train(here, **names):
    run = here.run(type("Named", (Named,), names))
    list(here.cohort(run).train(stop=lambda: False, checkpoint=lambda run: None))
    return run


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"terms": {"first": "loss"}}, ["losses() names a term 'loss'", "the weighted total", "another name"]),
        ({"logged": ["norm", "loss"]}, ["log() names a value 'loss'", "the weighted total", "another name"]),
        ({"logged": ["task"]}, ["log() names a value 'task'", "a term of losses()", "another name"]),
    ],
)
def test_a_duplicate_name_fails_the_run_at_once(world, names, words):
    run = train(world(), **names)
    assert [word for word in [*words, "step 1 (first)"] if word not in run.error] == []
    assert run.history == []


@pytest.mark.parametrize("weighed", [{"taks": 2.0}, {"task": 2.0, "taks": 0.5}])
def test_a_weight_without_a_term_fails_the_run_at_its_end(world, weighed):
    run = train(world(), weighed=weighed)
    last = f"step {run.steps} (second)"
    words = [last, "weights() names taks", "no such term in any stage; terms: again, task"]
    assert [word for word in words if word not in run.error] == []


def test_weights_of_other_stages_and_of_zero_are_allowed(world):
    run = train(world(), weighed={"task": 2.0, "again": 3.0, "off": 0.0}, logged=["norm"])
    assert run.error is None
    for point in run.history:
        weight = {"task": 2.0, "again": 3.0}
        assert point.terms.keys() - weight.keys() == {"loss", "norm"}
        total = sum(weight[name] * point.terms[name] for name in point.terms.keys() & weight.keys())
        assert point.terms["loss"] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("misspelled", [False, True])
def test_a_resumed_run_remembers_names_of_earlier_stages(world, tmp_path, misspelled):
    """The terms, and the weights without a term."""

    class Weighs(Named):
        def weights(self, step):
            return {"task": 2.0, "taks": float(misspelled and step.stage.name == "first")}

    here = world()
    stop = here.run(Weighs).progress.lengths[0] + 1
    again = interrupted(here, lambda: here.run(Weighs), stop, tmp_path / "run.pt")
    list(here.cohort(again).train(stop=lambda: False, checkpoint=lambda run: None))
    assert ("weights() names taks, but" in (again.error or "")) == misspelled
    assert again.ended
