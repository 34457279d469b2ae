"""Grouped batching: the gradients of random batches with less padding, independent of the other runs."""

import pytest
import torch
from torch import nn

from harness.api.losses import task_loss
from harness.api.method import Method, Needs, Stage
from harness.training.step_batch import join_groups
from tests.support.training_world import alone, assert_same, step, train
from tests.teacher_outputs.test_output_store import everything, teacher_of
from tests.training.test_cohort import METHODS, VARIANTS

CPU = torch.device("cpu")
KINDS = ["classification", "regression", "qa"]


def without_dropout(run):
    for module in run.student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return run


def gradients_of_first_steps(world, kind, method, config, batching, dtype):
    """Gradients of all weights in the first step of each stage, in float32 or float64, with the logged terms."""
    here = world(kind, batching=batching, log_every=1, max_grad_norm=None)
    run = without_dropout(here.run(method, config=config))
    run.student.to(dtype)
    run.modules.to(dtype)
    cohort = here.cohort(run)
    cohort.teachers["base"].model.to(dtype)
    actual: list = []
    for number in range(len(run.progress.stages)):
        run.enter_stage(number)
        grads: list = []
        run.trained.optimizer.register_step_pre_hook(
            lambda *_, grads=grads: grads.extend(
                None if p.grad is None else p.grad.clone()
                for p in [*run.student.parameters(), *run.modules.parameters()]
            )
        )
        for group in run.trained.optimizer.param_groups:
            group["lr"] = 0.0
        data = cohort.stream.at(0, CPU)
        step(cohort, run, data, cohort.teacher_passes.outputs(0, data, [run]))
        assert run.error is None
        actual.append((grads, dict(run.history[-1].terms), len(data.group_slices["tokenizer"])))
    return actual


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-6)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("method", "config"), [("finetune", {}), ("logit_kd", {}), ("pkd", {}), ("minilm", {}), *VARIANTS]
)
def test_gradients_are_those_of_the_random_batch(world, method, config, kind, dtype, tolerance, monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "step", _hooks_only)
    whole, split = (
        gradients_of_first_steps(world, kind, method, config, batching, dtype) for batching in ("random", "grouped")
    )
    for (expected, terms, one), (actual, other_terms, several) in zip(whole, split, strict=True):
        assert one == 1
        assert several > 1
        largest = max(float(grad.abs().max()) for grad in expected if grad is not None)
        for mine, theirs in zip(actual, expected, strict=True):
            assert (mine is None) == (theirs is None)
            if theirs is not None:
                assert float((mine - theirs).abs().max()) <= tolerance * largest
        assert other_terms == pytest.approx(terms, rel=1e-4, abs=1e-6)


def _hooks_only(self):
    for hook in self._optimizer_step_pre_hooks.values():
        hook(self, (), {})


def test_groups_hold_the_same_rows_with_less_padding(world):
    grouped, random = world(batching="grouped").stream(), world(batching="random").stream()
    tokens = {"grouped": 0, "random": 0}
    for position in range(2 * random.batches_per_epoch):
        mine, theirs = grouped.at(position, CPU), random.at(position, CPU)
        assert mine.whole("tokenizer").ids == theirs.whole("tokenizer").ids
        groups = mine.groups("tokenizer")
        assert tuple(id for group in groups for id in group.ids) == mine.whole("tokenizer").ids
        for group in groups:
            assert group.inputs["input_ids"].shape[1] == int(group.lengths.max())
            assert all(len(tensor) == len(group.ids) for tensor in group.tensors())
        tokens["grouped"] += sum(group.inputs["input_ids"].numel() for group in groups)
        tokens["random"] += sum(group.inputs["input_ids"].numel() for group in theirs.groups("tokenizer"))
    assert tokens["grouped"] < 0.9 * tokens["random"]


@pytest.mark.parametrize("kind", KINDS)
def test_joined_outputs_are_those_of_the_whole_batch(world, kind):
    here = world(kind, batching="grouped")
    data, teacher = here.stream().at(0, CPU), teacher_of(here)
    groups = data.groups("tokenizer")
    assert len(groups) > 1
    batch, needs = data.whole("tokenizer"), everything(kind)
    whole = teacher.forward(batch, needs, here.training)
    parts = [teacher.forward(group, needs, here.training) for group in groups]
    joined = join_groups(parts, batch.inputs["input_ids"].shape[1], batch.kind)
    real = batch.mask
    for name in ("hidden", "context"):
        for layer, tensor in getattr(whole, name).items():
            actual = getattr(joined, name)[layer]
            assert torch.allclose(actual[real], tensor[real], atol=1e-5)
    for name in ("queries", "keys", "values"):
        for layer, tensor in getattr(whole, name).items():
            actual = getattr(joined, name)[layer].transpose(1, 2)
            assert torch.allclose(actual[real], tensor.transpose(1, 2)[real], atol=1e-5)
    pairs = (real[:, :, None] & real[:, None, :])[:, None].expand_as(whole.scores[1])
    for layer, tensor in whole.scores.items():
        assert torch.allclose(joined.scores[layer][pairs], tensor[pairs], atol=1e-5)
    assert torch.allclose(joined.logits, whole.logits, atol=1e-5)
    assert torch.allclose(joined.embeddings[real], whole.embeddings[real], atol=1e-5)


def test_batch_dependent_runs_do_not_depend_on_the_cohort(world):
    here = world("classification", epochs=0.7, batching="grouped")
    batch_dependent = [
        (method, config)
        for method, config in METHODS
        if any(s.batch_dependent for s in here.run(method, config=config).progress.stages)
    ]
    assert batch_dependent
    for method, config in batch_dependent:
        expected = alone(here, method, config, 1)
        run, other = here.run(method, config=config), here.run("tinybert")
        train(here.cohort(other, run))
        assert_same(run, expected)


def test_padding_is_counted(world):
    shares = {}
    for batching in ("random", "grouped"):
        here = world("classification", epochs=1, batching=batching)
        run = here.run("finetune")
        train(here.cohort(run))
        stream = here.stream()
        steps = [stream.at(position, CPU) for position in range(run.steps)]
        assert run.cost.tokens == sum(step.tokens for step in steps) == int(here.data.train.lengths.sum())
        assert run.cost.padded_tokens == sum(
            g.inputs["input_ids"].numel() for s in steps for g in s.groups("tokenizer")
        )
        shares[batching] = run.cost.padded_tokens / run.cost.tokens
    assert 1 <= shares["grouped"] < shares["random"]


class ComparesInItsFirstStep(Method):
    """Two stages of one step, the first on the whole batch, the second on its groups."""

    name = "compares_in_its_first_step"
    min_teachers = max_teachers = 0

    def stages(self):
        needs = Needs(student=["logits"])
        return [Stage("whole", needs, steps=1, batch_dependent=frozenset({"task"})), Stage("groups", needs, steps=1)]

    def losses(self, step, batch, student, teachers):
        return {"task": task_loss(student.logits, batch)}


def test_padding_is_that_of_the_stage_of_the_step(world):
    here = world()
    run = here.run(ComparesInItsFirstStep)
    train(here.cohort(run))
    first, second = (here.stream().at(position, CPU) for position in (0, 1))
    batches = [first.whole("tokenizer"), *second.groups("tokenizer")]
    assert len(first.groups("tokenizer")) > 1
    assert run.cost.padded_tokens == sum(batch.inputs["input_ids"].numel() for batch in batches)


def test_a_group_is_truncated_to_its_longest_row(world):
    for kind in KINDS:
        data = world(kind, batching="grouped").stream().at(0, CPU)
        whole = data.whole("tokenizer")
        first = 0
        for group in data.groups("tokenizer"):
            rows = slice(first, first + len(group.ids))
            first += len(group.ids)
            tokens = group.inputs["input_ids"].shape[1]
            assert torch.equal(group.labels, whole.labels[rows])
            assert torch.equal(group.inputs["input_ids"], whole.inputs["input_ids"][rows, :tokens])
            assert not whole.mask[rows, tokens:].any()
