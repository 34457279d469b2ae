"""The terms and the state of temporal_ensembling against plain loops over float64 numbers, in several steps."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from harness.api.batch import Batch
from harness.api.method import Step, TaskInfo
from harness.api.model_outputs import ModelOutputs, ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms
from tests.reference.comparison import evaluate
from tests.reference.formulas import mean, softmax
from tests.reference.settings import batch_of, model

METHOD = Host.create().methods["temporal_ensembling"]
KINDS = ["classification", "multilabel", "regression"]
SHAPE = ModelShape("small", 2, 16, 4, 32)
CLASSES = {"classification": 3, "multilabel": 3, "regression": 1}
LABELS = {
    "classification": torch.tensor([0, 2]),
    "multilabel": torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
    "regression": torch.tensor([0.3, 0.8]),
}


def bound_method(kind="classification", examples=5, **config):
    task = TaskInfo("some", kind, CLASSES.get(kind, 2), examples)
    return METHOD(METHOD.Config(**config), task=task, student=SHAPE, teachers=(), seed=1)


def step_at(method, modules, index=0, steps=10):
    (stage,) = method.stages()
    return Step(stage, index, steps, index / 5, steps / 5, modules, torch.Generator())


def part(kind, rows, logits):
    """Two examples with these rows and logits."""
    batch = Batch(kind, tuple(map(str, rows)), {}, LABELS[kind], rows=tuple(rows))
    return batch, ModelOutputs(torch.tensor(logits, dtype=torch.float64, requires_grad=True))


def probabilities(kind, z):
    if kind == "regression":
        return z
    return softmax(z) if kind == "classification" else [1 / (1 + math.exp(-x)) for x in z]


@pytest.mark.parametrize("kind", KINDS)
def test_targets_are_the_averages_of_past_predictions(kind):
    """Three epochs of four of five examples, not always the same."""
    method = bound_method(kind, alpha=0.7)
    modules = method.modules(SHAPE, ()).double()
    generator = torch.Generator().manual_seed(2)
    past: dict[int, list[list[float]]] = {row: [] for row in range(5)}
    for epoch in range(3):
        for rows in [(3, 1), (0, 2)] if epoch else [(3, 1), (2, 4)]:
            logits = torch.randn(2, CLASSES[kind], generator=generator, dtype=torch.float64).tolist()
            step = step_at(method, modules)
            batch, outputs = part(kind, rows, logits)
            term = method.losses(step, batch, outputs, ())["ensemble"]
            method.after_step(step)
            expected = []
            for row, z in zip(rows, logits, strict=True):
                now, total = probabilities(kind, z), [0.0] * CLASSES[kind]
                for earlier in past[row]:
                    total = [0.7 * a + 0.3 * b for a, b in zip(total, earlier, strict=True)]
                count = len(past[row])
                target = [x / (1 - 0.7**count) for x in total] if count else now
                expected.append(mean((a - b) ** 2 for a, b in zip(now, target, strict=True)))
                past[row].append(now)
            assert term.item() == pytest.approx(mean(expected), rel=1e-9, abs=1e-15)
            assert (term.item() > 0) == (epoch > 0)
    assert modules["predictions"].counts.tolist() == [2, 3, 3, 3, 1]


def test_parts_of_a_batch_give_the_terms_and_the_state_of_the_whole():
    method = bound_method()
    whole, in_parts = (method.modules(SHAPE, ()).double() for _ in range(2))
    logits = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).tolist()
    for of_step in logits:
        batch, outputs = part("classification", (3, 1), of_step)
        step = step_at(method, whole)
        terms = method.losses(step, batch, outputs, ())
        method.after_step(step)
        step, parts = step_at(method, in_parts), []
        for rows in (slice(0, 1), slice(1, 2)):
            one = replace(batch, ids=batch.ids[rows], rows=batch.rows[rows], labels=batch.labels[rows])
            parts.append(method.losses(step, one, outputs.part(rows), ()))
        method.after_step(step)
        for name, term in terms.items():
            assert mean(of_part[name].item() for of_part in parts) == pytest.approx(term.item(), rel=1e-12)
    assert all(torch.equal(a, b) for a, b in zip(whole.buffers(), in_parts.buffers(), strict=True))
    assert whole["predictions"].averages[[1, 3]].any()


def test_a_target_has_no_gradient():
    method = bound_method()
    modules = method.modules(SHAPE, ()).double()
    for logits in ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]):
        step = step_at(method, modules)
        batch, outputs = part("classification", (3, 1), logits)
        terms = method.losses(step, batch, outputs, ())
        method.after_step(step)
    (gradient,) = torch.autograd.grad(terms["ensemble"], outputs.logits)
    assert gradient[0].any()
    assert gradient[1].abs().max() < 1e-12, "the prediction is that of the first step"
    assert not any(buffer.requires_grad for buffer in modules.buffers())


@pytest.mark.parametrize("ramp_up", [1.0, 0.4])
def test_the_weight_rises(ramp_up):
    method = bound_method(max_weight=2.0, ramp_up=ramp_up)
    for index in range(10):
        t = min(1.0, index / 10 / ramp_up)
        weights = method.weights(step_at(method, None, index))
        assert weights == pytest.approx({"ensemble": 2 * math.exp(-5 * (1 - t) ** 2)}, rel=1e-12)
    assert method.weights(step_at(method, None, 0))["ensemble"] == pytest.approx(2 * math.exp(-5))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_epoch_learns_from_the_labels_alone(kind):
    terms, _ = evaluate("temporal_ensembling", kind, model(kind, "student"), [], batch_of(kind))
    assert terms["ensemble"] == 0
    finetuned, _ = evaluate("finetune", kind, model(kind, "student"), [], batch_of(kind))
    assert terms["task"] == finetuned["task"]


def test_dropout_of_two_steps_differs():
    """The same batch twice, in train mode: the second pass is not the first."""
    student = copy.deepcopy(model("classification", "student")).train()

    class Twice(METHOD):
        def losses(self, step, batch, student, teachers):
            super().losses(step, batch, student, teachers)
            self.after_step(step)
            return super().losses(step, batch, step.student.run(["logits"]), teachers)

    term = loss_terms(Twice, student=student, teachers=[], batch=batch_of("classification"))["ensemble"]
    term.backward()
    assert term.item() > 0
    assert student.bert.encoder.layer[0].output.dense.weight.grad.any()


@pytest.mark.parametrize("kind", ["token_classification", "qa"])
def test_predictions_of_varying_size_are_refused(kind):
    method = bound_method(kind)
    (problem,) = method.check(method.task, SHAPE, ())
    assert f"some is {kind}, whose predictions are as many as an example's tokens" in str(problem)


def test_planning_without_the_number_of_examples_builds_an_empty_state():
    assert bound_method(examples=0).modules(SHAPE, ())["predictions"].averages.shape == (0, 3)
