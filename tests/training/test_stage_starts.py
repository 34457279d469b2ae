"""A stage that starts from the best epoch of the stage before it."""

import pytest
import torch

from harness import Method, Needs, Stage
from harness.api.losses import task_loss
from harness.training.best_epoch import BestEpoch
from tests.support.training_world import interrupted, train
from tests.training.test_best_epoch import EPOCH, Scripted, same, weights


class Phases(Method):
    """The second stage begins at the best epoch of the first. A module counts the steps in a buffer."""

    name = "phases"
    min_teachers = max_teachers = 0

    def stages(self):
        needs = Needs(student=["logits"])
        return [Stage("first", needs, epochs=3), Stage("second", needs, epochs=1, starts_from="best")]

    def modules(self, student, teachers):
        counter = torch.nn.Linear(student.hidden, 1)
        counter.register_buffer("steps", torch.zeros(()))
        return torch.nn.ModuleDict({"counter": counter})

    def losses(self, step, batch, student, teachers):
        return {"task": task_loss(student.logits, batch), "own": step.modules["counter"].weight.square().mean()}

    def after_step(self, step):
        step.modules["counter"].steps += 1


class Watched(Scripted):
    """Scripted scores; keeps the weights of the modules of `run`, too."""

    run = None

    def __call__(self, capture):
        self.modules = [*getattr(self, "modules", []), weights(self.run.modules)]
        return super().__call__(capture)


def watched_run(here, *scores):
    scorer = Watched(*scores)
    scorer.run = here.run(Phases, best=BestEpoch(scorer))
    return scorer.run, scorer


@pytest.mark.parametrize("best", [1, 2, 3])
def test_student_and_modules_of_the_best_epoch_start_the_next_stage(world, best):
    here = world()
    scores = [0.1, 0.2, 0.3, 0.05]
    scores[best - 1] = 0.9
    run, scorer = watched_run(here, *scores)
    train(here.cohort(run), stop=lambda: run.progress.number == 1)
    assert same(weights(run.student), scorer.seen[best - 1])
    assert same(weights(run.modules), scorer.modules[best - 1])
    assert run.modules["counter"].steps == best * EPOCH
    assert run.starts == {"second": {"stage": "first", "step": best * EPOCH, "epoch": best, "score": 0.9}}
    train(here.cohort(run))
    assert run.error is None
    assert [point.step for point in run.best.epochs] == [4 * EPOCH], "the result is chosen in the last stage"
    assert same(weights(run.student), scorer.seen[3])
    assert run.modules["counter"].steps == (best + 1) * EPOCH


def test_without_a_selection_the_stage_continues_with_the_last_step_and_the_record_says_so(world):
    here = world()
    run = here.run(Phases)
    train(here.cohort(run), stop=lambda: run.progress.number == 1)
    assert run.modules["counter"].steps == 3 * EPOCH
    start = run.starts["second"]
    assert start["step"] == 3 * EPOCH
    assert "does not select" in start["reason"]


@pytest.mark.parametrize("stop_after", [7, 17, 18, 20])
def test_interrupted_and_resumed_equals_uninterrupted(world, tmp_path, stop_after):
    here = world()
    expected = here.run(Phases, best=here.best())
    train(here.cohort(expected))
    again = interrupted(here, lambda: here.run(Phases, best=here.best()), stop_after, tmp_path / "run.pt")
    train(here.cohort(again))
    assert same(weights(again.student), weights(expected.student))
    assert same(weights(again.modules), weights(expected.modules))
    assert again.best.epochs == expected.best.epochs
    assert again.starts == expected.starts
    assert "score" in again.starts["second"]


class NoStageBefore(Phases):
    name = "no stage before"

    def stages(self):
        return [Stage("only", Needs(student=["logits"]), starts_from="best")]


def test_the_first_stage_follows_no_other(world):
    run = world().run(NoStageBefore)
    assert "before step 1 (only)" in run.error
    assert "the first stage follows no other" in run.error
