"""A step on another device than the CPU: torch's meta device, on which nothing is computed, stands in for one.

What would be looked at from the host, or would meet a tensor of the CPU, is an error there as it is on a GPU.
"""

from contextlib import nullcontext

import pytest
import torch

from harness import Method, Needs, Stage
from harness.api.losses import task_loss
from tests.training.test_cohort import KINDS, METHODS

META = torch.device("meta")


@pytest.fixture
def elsewhere(world, monkeypatch):
    """A world there. The optimiser and autocast, which know real devices alone, do nothing."""
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: nullcontext())

    def make(kind):
        here = world(kind, log_every=1000)
        here.device = META
        return here

    return make


def stepped(here, run):
    """The run after a step in each of its stages, of which no loss was read."""
    cohort = here.cohort(run)
    data = here.stream().at(0, META)
    for number in range(len(run.stages)):
        run.stage_number, run.stage_step = number, 0
        cohort._step(run, data, cohort._teacher_outputs(0, data, [run]))
    return run


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("method", "config"), METHODS, ids=[f"{method}-{config}" for method, config in METHODS])
def test_all_of_a_step_is_computed_where_the_batch_is(elsewhere, kind, method, config):
    here = elsewhere(kind)
    run = stepped(here, here.run(method, config=config))
    assert run.error is None
    assert {value.device for value in run._log._sums.values()} == {META}


class Looks(Method):
    """Its loss is taken apart on the host."""

    name = "looks"

    def stages(self):
        return [Stage("only", Needs(student=["logits"], teachers=[["logits"]]))]

    def losses(self, step, batch, student, teachers):
        loss = task_loss(student.logits, batch)
        return {"task": loss * float(loss.detach())}


class Mixes(Looks):
    """Its loss meets a tensor that it made on the CPU."""

    name = "mixes"

    def losses(self, step, batch, student, teachers):
        weights = torch.ones(len(batch.ids), 1)
        return {"task": (student.logits * weights).mean()}


@pytest.mark.parametrize("method", [Looks, Mixes])
def test_what_is_computed_elsewhere_is_found(elsewhere, method):
    here = elsewhere("classification")
    assert stepped(here, here.run(method)).error is not None
