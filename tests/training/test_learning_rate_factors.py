"""Learning rates and freezing by parameter group."""

from typing import ClassVar

import pytest
import torch

from harness import Method, Needs, Stage
from harness.api.losses import projection, task_loss
from harness.training.optimizer import adamw, allocate_moments, scaled_learning_rates, set_learning_rate
from tests.support.training_world import alone, assert_same, bits, interrupted, train

FIRST = 3
"""Steps of the first stage."""


class Grouped(Method):
    """Trains the head and layer 2 in the first stage; in the second by factors, which change with progress."""

    name = "grouped"
    frozen = frozenset({"embeddings", "layer[1]", "modules.unused"})
    factors: ClassVar = {"layer[1]": 0.0, "modules": 0.5}

    def stages(self):
        needs = Needs(student=["logits", "hidden[1]"], teachers=[["hidden[1]"]])
        return [Stage("first", needs, steps=FIRST, frozen=self.frozen), Stage("second", needs, steps=4)]

    def modules(self, student, teachers):
        own = {name: projection(student.hidden, teachers[0].hidden) for name in ("projection", "unused")}
        return torch.nn.ModuleDict(own)

    def losses(self, step, batch, student, teachers):
        projected = [module(student.hidden[1]) for module in step.modules.values()]
        hint = sum((each - teachers[0].hidden[1]).square().mean() for each in projected)
        return {"task": task_loss(student.logits, batch), "hint": hint}

    def learning_rates(self, step):
        return self.factors if step.stage.name == "second" and step.progress < 0.5 else {}


class Ones(Grouped):
    """Factors of 1 change no bit, though they split the groups of the optimizer."""

    name = "ones"
    frozen = frozenset()
    factors: ClassVar = {"layer[1]": 1.0, "head": 1.0}


def stopped(here, method, steps):
    """The run after `steps` steps."""
    run = here.run(method)
    train(here.cohort(run), stop=lambda: run.position >= steps)
    assert run.error is None
    return run


def changed(run, other):
    """Which parameters differ between two positions of a run, by the start of their names."""
    before, after = bits(run)[0], bits(other)[0]
    differ = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    starts = ("module.projection", "module.unused", "bert.embeddings", "encoder.layer.0", "encoder.layer.1")
    starts = (*starts, "bert.pooler", "classifier")
    return {start for start in starts if any(start in name for name in differ)}


def test_a_stage_freezes_groups(world):
    here = world()
    run = here.run(Grouped)
    assert not run.student.bert.embeddings.word_embeddings.weight.requires_grad
    assert changed(run, stopped(here, Grouped, FIRST)) == {
        "module.projection",
        "encoder.layer.1",
        "bert.pooler",
        "classifier",
    }


def test_a_factor_of_zero_changes_nothing_not_by_weight_decay_either(world):
    here = world(weight_decay=0.5)
    before, after = stopped(here, Grouped, FIRST), stopped(here, Grouped, FIRST + 2)
    assert "encoder.layer.0" not in changed(before, after)
    assert {"bert.embeddings", "module.projection", "module.unused", "classifier"} <= changed(before, after)
    assert "encoder.layer.0" in changed(after, stopped(here, Grouped, FIRST + 3))


def test_factors_of_one_change_no_bit(world):
    here = world()

    class Plain(Ones):
        def learning_rates(self, step):
            return {}

    assert_same(stopped(here, Ones, 7), bits(stopped(here, Plain, 7)))


@pytest.mark.parametrize("stop_after", [2, 4, 5])
def test_interrupted_and_resumed_equals_uninterrupted(world, tmp_path, stop_after):
    here = world()
    again = interrupted(here, lambda: here.run(Grouped), stop_after, tmp_path / "run.pt")
    train(here.cohort(again))
    assert_same(again, alone(here, Grouped, {}, 1))


def test_an_update_is_that_of_an_optimizer_with_this_learning_rate():
    def linear():
        torch.manual_seed(0)
        return torch.nn.Linear(3, 2)

    gradient = torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
    updated = []
    for lr, factor in ((0.1, 0.25), (0.025, None)):
        module = linear()
        optimizer = adamw([module], weight_decay=0.1)
        for _ in range(3):
            module.weight.grad, module.bias.grad = gradient.clone(), torch.ones(2)
            set_learning_rate(optimizer, lr)
            factors = {} if factor is None else dict.fromkeys(module.parameters(), factor)
            with scaled_learning_rates(optimizer, factors):
                optimizer.step()
        updated.append(module)
    torch.testing.assert_close(updated[0].weight, updated[1].weight, rtol=0, atol=1e-7)
    torch.testing.assert_close(updated[0].bias, updated[1].bias, rtol=0, atol=1e-7)


def test_moments_are_allocated_as_the_optimizer_allocates_them():
    """In the same memory format and with the same values. Parameters without a gradient get none."""
    states = []
    for allocate in (allocate_moments, lambda optimizer: None):
        module = torch.nn.Conv2d(2, 3, 2).to(memory_format=torch.channels_last)
        optimizer = adamw([module, torch.nn.Linear(2, 2)], weight_decay=0.1)
        for parameter in module.parameters():
            parameter.grad = torch.ones_like(parameter)
        allocate(optimizer)
        assert len(optimizer.state) == (2 if allocate is allocate_moments else 0)
        optimizer.step()
        states.append(list(optimizer.state.values()))
    for mine, theirs in zip(*states, strict=True):
        assert mine.keys() == theirs.keys()
        for name, tensor in theirs.items():
            assert torch.equal(mine[name], tensor)
            assert (mine[name].dtype, mine[name].stride()) == (tensor.dtype, tensor.stride())
            assert mine[name].requires_grad == tensor.requires_grad


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"factors": {"layer[3]": 0.5}}, ["no parameter group 'layer[3]'", "embeddings, layer[1], layer[2], head"]),
        ({"factors": {"head": -1.0}}, ["the factor of 'head' is -1.0"]),
        ({"factors": {"head": float("nan")}}, ["the factor of 'head' is nan"]),
        ({"frozen": frozenset({"modules.none"})}, ["no parameter named modules.none", "modules.projection"]),
    ],
)
def test_an_unknown_group_fails_the_run_before_its_first_step(world, attributes, words):
    class Wrong(Grouped):
        def learning_rates(self, step):
            return self.factors if step.stage.name == "second" else {}

    for name, value in attributes.items():
        setattr(Wrong, name, value)
    run = world().run(Wrong)
    assert run.error.startswith("before step 1 (")
    assert [word for word in words if word not in run.error] == []
    assert run.ended


def test_an_error_before_the_first_step_is_one_line(world):
    class Wrong(Grouped):
        def learning_rates(self, step):
            raise RuntimeError("the first line\nof many")

    assert world().run(Wrong).error == "before step 1 (first): RuntimeError: the first line"
