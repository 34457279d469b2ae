"""A training step on torch's meta device, in place of a GPU.

Reading a value on the host, or mixing in a tensor of the CPU, is an error on both. Copies that would wait are recorded.
"""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from harness import Method, Needs, Stage
from harness.api.losses import task_loss
from tests.support.float64_tensors import float64_tensors
from tests.support.training_world import SOLVED_ON_THE_CPU
from tests.support.waiting_copies import waiting_copies
from tests.training.test_cohort import METHODS

KINDS = ("classification", "qa", "regression", "multilabel", "token_classification")
META = torch.device("meta")


@pytest.fixture
def elsewhere(world, monkeypatch):
    """A world on that device. The optimizer and autocast, which support real devices only, do nothing."""
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: nullcontext())

    def make(kind):
        return world(kind, device="meta", log_every=1000, batching="random")

    return make


NEEDS_TWO_TEACHERS = {"rl_kd"}  # these runs have one
ON_DEVICE = [(name, config) for name, config in METHODS if name not in SOLVED_ON_THE_CPU | NEEDS_TWO_TEACHERS]
CASES = [(method, config, ("classification", "qa")[number % 2]) for number, (method, config) in enumerate(ON_DEVICE)]
CASES += [(method, {}, kind) for method in ("tinybert", "mt_bert") for kind in KINDS]
CASES += [("codir", {}, "classification")]  # draws from other examples otherwise
"""All methods have the same losses on logits, so each is tried on one kind, and two of them on every kind."""


def supported(elsewhere, method, config, kind):
    """A world and a run in it: of `kind` or, if the method refuses that, of classification."""
    for each in (kind, "classification"):
        here = elsewhere(each)
        run = here.run(method, config=config)
        if here.supports(run):
            return here, run
    raise AssertionError(f"{method} refuses {kind} and classification")


@pytest.mark.parametrize(("method", "config", "kind"), CASES, ids=str)
def test_a_step_is_computed_on_the_device_of_the_batch(elsewhere, method, config, kind):
    with float64_tensors(META) as wide:
        here, run = supported(elsewhere, method, config, kind)
        cohort = here.cohort(run)
        with waiting_copies() as copies:
            here.step_each_stage(run, cohort)
    assert run.error is None
    assert copies == []
    assert wide == [], "mps has no float64"
    assert run.curve.log._sums["loss"].device == META


@pytest.mark.parametrize("method", sorted(SOLVED_ON_THE_CPU))
def test_what_is_solved_on_the_cpu_has_no_float64_on_the_device(elsewhere, monkeypatch, method):
    """The values that the method reads are ones, in the dtype of the device's tensor."""
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: torch.ones(self.shape, dtype=self.dtype))
    here = elsewhere("classification")
    with float64_tensors(META) as wide:
        run = here.run(method)
        here.step_each_stage(run)
    assert run.error is None
    assert wide == []


def test_a_float64_tensor_is_noticed():
    with float64_tensors(META) as wide:
        moved = torch.zeros(2, dtype=torch.float64).to(META)
        moved.float().double()
        torch.zeros(2, device=META) + 1
    assert [operator for operator, *_ in (line.split() for line in wide)] == ["aten._to_copy.default"] * 2


def test_class_weights_are_copied_without_waiting(world, monkeypatch):
    batch = replace(world().data.batch([3, 1]), class_weights=torch.ones(2))
    with waiting_copies() as copies:
        moved = batch.to(META)
    assert {tensor.device for tensor in (*moved.tensors(), moved.class_weights)} == {META}
    assert copies == []
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    batch.pin_memory()
    assert any(tensor is batch.class_weights for tensor in pinned)


class Looks(Method):
    """Its loss reads values on the host."""

    name = "looks"

    def stages(self):
        return [Stage("only", Needs(student=["logits"], teachers=[["logits"]]))]

    def losses(self, step, batch, student, teachers):
        loss = task_loss(student.logits, batch)
        return {"task": loss * float(loss.detach())}


class Mixes(Looks):
    """Its loss uses a tensor that it created on the CPU."""

    name = "mixes"

    def losses(self, step, batch, student, teachers):
        weights = torch.ones(len(batch.ids), 1)
        return {"task": (student.logits * weights).mean()}


class Waits(Looks):
    """Its loss copies a list and a tensor to the device."""

    name = "waits"

    def losses(self, step, batch, student, teachers):
        rows = torch.tensor(batch.rows, device=batch.labels.device)
        ones = torch.ones(len(rows)).to(batch.labels.device)
        return {"task": task_loss(student.logits, batch) * (rows * ones).mean()}


def test_a_copy_that_waits_is_named(elsewhere):
    here = elsewhere("classification")
    run = here.run(Waits)
    cohort = here.cohort(run)
    with waiting_copies() as copies:
        here.step_each_stage(run, cohort)
    assert run.error is None
    assert len(copies) == 2
    assert all(copy.startswith(f"cpu to meta in {__file__}:") for copy in copies)


@pytest.mark.parametrize("method", [Looks, Mixes])
def test_computation_on_another_device_fails(elsewhere, method):
    here = elsewhere("classification")
    assert here.step_each_stage(here.run(method)).error is not None
