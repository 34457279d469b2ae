"""`Method.after_step` and `Step.scratch`: state that is updated once for each step."""

import pytest
import torch

from harness import Method, Needs, Stage
from harness.api.losses import task_loss
from tests.support.training_world import alone, assert_same, bits, interrupted, train


class Remembers(Method):
    """Keeps the logits of every example, and a mean of rows and of a random number, updated after each step."""

    name = "remembers"
    runs_out_above = 8

    def stages(self):
        return [Stage("only", Needs(student=["logits"], teachers=[["logits"]]))]

    def modules(self, student, teachers):
        state = torch.nn.Module()
        state.register_buffer("logits", torch.zeros(self.task.examples, self.task.num_labels))
        state.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        state.register_buffer("mean", torch.zeros(()))
        return torch.nn.ModuleDict({"state": state})

    def losses(self, step, batch, student, teachers):
        step.scratch.setdefault("rows", []).extend(batch.rows)
        step.scratch.setdefault("logits", []).append(student.logits.detach())
        if len(batch.ids) > self.runs_out_above:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        past = step.modules["state"].logits[list(batch.rows)]
        return {"task": task_loss(student.logits, batch), "past": (student.logits - past).square().mean()}

    def after_step(self, step):
        assert not torch.is_grad_enabled()
        state, rows = step.modules["state"], step.scratch["rows"]
        assert len(set(rows)) == len(rows)
        state.logits[rows] = torch.cat(step.scratch["logits"])
        state.steps += 1
        state.mean.lerp_(torch.rand(()) + torch.rand((), generator=step.generator) + sum(rows), 0.5)
        step.log("remembered", state.mean)


class Splits(Remembers):
    name = "splits"
    runs_out_above = 3


def test_the_state_is_updated_once_for_each_step_and_logged(world):
    here = world(batching="random")
    run = here.run(Remembers)
    train(here.cohort(run))
    assert run.error is None
    assert run.method.task.examples == 44
    state = run.modules["state"]
    assert state.steps == run.steps == 12
    assert (state.logits != 0).all()
    assert run.history[-1].terms["remembered"] > 0


@pytest.mark.parametrize("stop_after", [1, 7])
def test_interrupted_and_resumed_equals_uninterrupted(world, tmp_path, stop_after):
    here = world()
    again = interrupted(here, lambda: here.run(Remembers), stop_after, tmp_path / "run.pt")
    train(here.cohort(again))
    assert_same(again, alone(here, Remembers, {}, 1))


def test_a_repeated_step_starts_with_an_empty_scratch(world):
    """The attempts that ran out of memory leave nothing: every example is there once."""
    here = world(batching="random")
    run = here.run(Splits)
    train(here.cohort(run))
    assert run.error is None
    assert run.gradients.micro_batch_size == 2
    assert run.modules["state"].steps == run.steps
    direct = world(batching="random", micro_batch_size=2)
    expected = direct.run(Splits)
    train(direct.cohort(expected))
    assert_same(run, bits(expected))


def test_the_bits_do_not_depend_on_the_cohort(world):
    here = world()
    expected = [alone(here, method, {}, 1) for method in (Remembers, "logit_kd")]
    runs = [here.run("logit_kd"), here.run(Remembers)]
    train(here.cohort(*runs))
    assert_same(runs[1], expected[0])
    assert_same(runs[0], expected[1])


class Fails(Remembers):
    name = "fails after a step"

    def after_step(self, step):
        raise torch.OutOfMemoryError("CUDA out of memory.")


class LogsATerm(Remembers):
    name = "logs a term"

    def after_step(self, step):
        step.log("past", 1.0)


@pytest.mark.parametrize(("method", "words"), [(Fails, "OutOfMemoryError"), (LogsATerm, "'past', which is a term")])
def test_an_error_after_the_update_fails_only_that_run(world, method, words):
    """Also lack of memory: the weights have changed, so the step cannot be repeated."""
    here = world()
    bad, good = here.run(method), here.run("finetune")
    cohort = here.cohort(bad, good)
    train(cohort)
    assert words in bad.error
    assert bad.error.startswith("step 1 (only)")
    assert good.error is None
    assert cohort.deferred == []
