"""The terms of rdrop against plain loops over float64 numbers: of both passes, in train mode."""

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from harness.plugin_host.host import Host
from harness.testing import loss_terms
from tests.reference import reading
from tests.reference.formulas import kl, label_loss, mean, softmax
from tests.reference.settings import batch_of, model

METHOD = Host.create().methods["rdrop"]
KINDS = ["classification", "multilabel", "regression", "token_classification", "qa"]


def both_passes(kind, batch, training=True, **config):
    """The terms, their gradients, and the logits of both passes."""
    student = copy.deepcopy(model(kind, "student")).train(training)
    passes = []

    class Watched(METHOD):
        def losses(self, step, batch, student, teachers):
            run = step.student.run
            watched = SimpleNamespace(run=lambda needs: passes.append(run(needs)) or passes[-1])
            step = replace(step, models=replace(step.models, student=watched))
            passes.append(student)
            return super().losses(step, batch, student, teachers)

    torch.manual_seed(3)
    terms = loss_terms(Watched, student=student, teachers=[], batch=batch, config=config)
    return terms, [outputs.logits for outputs in passes]


def distributions(kind, batch, logits):
    """Of each example, the logits of its distributions, as `reading.read` has them."""
    rows = []
    for i, row in enumerate(logits.detach()):
        if kind == "qa":
            places = [n for n, allowed in enumerate(batch["answer_mask"][i].tolist()) if allowed]
            rows.append(row[:, places].tolist())
        elif kind == "multilabel":
            rows.append([[z, 0.0] for z in row.tolist()])
        elif kind == "token_classification":
            rows.append(row[batch["labels"][i] != -100].tolist())
        else:
            rows.append([row.tolist()])
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_terms_are_what_the_formulas_say(kind):
    batch = batch_of(kind)
    terms, logits = both_passes(kind, batch)
    first, second = (distributions(kind, batch, each) for each in logits)
    labels = reading.labels(batch, kind)

    def of_example(z, w):
        if kind == "regression":
            return (z[0][0] - w[0][0]) ** 2
        pairs = [(softmax(a), softmax(b)) for a, b in zip(z, w, strict=True)]
        return mean((kl(p, q) + kl(q, p)) / 2 for p, q in pairs)

    def task(rows):
        return mean(
            mean(label_loss(kind, *pair) for pair in zip(row, y, strict=True))
            for row, y in zip(rows, labels, strict=True)
        )

    assert terms["task"].item() == pytest.approx(task(first) + task(second), rel=1e-9)
    assert terms["kl"].item() == pytest.approx(mean(map(of_example, first, second)), rel=1e-9)
    assert terms["kl"] > 1e-6, "dropout differs"


@pytest.mark.parametrize("kind", KINDS)
def test_both_passes_have_gradients(kind):
    terms, logits = both_passes(kind, batch_of(kind))
    for term in terms.values():
        gradients = torch.autograd.grad(term, logits, retain_graph=True)
        assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_of_the_code_is_a_sum_over_examples(kind):
    batch = batch_of(kind)
    (mean_terms, _), (terms, _) = both_passes(kind, batch), both_passes(kind, batch, kl_scale="code")
    factor = 1 if kind == "regression" else len(batch["input_ids"])
    assert terms["kl"].item() == pytest.approx(factor * mean_terms["kl"].item(), rel=1e-9)
    assert terms["task"].item() == mean_terms["task"].item()


def test_the_scale_of_the_code_needs_the_whole_batch(world):
    """In two micro-batches a sum over examples would be half as large."""
    here = world(batch_size=8, micro_batch_size=4, log_every=1)
    assert here.run("rdrop").stage.batch_dependent == frozenset()
    run = here.run("rdrop", config={"kl_scale": "code"})
    sizes = []
    losses = run.method.losses
    run.method.losses = lambda step, batch, *outputs: sizes.append(len(batch.ids)) or losses(step, batch, *outputs)
    here.step_each_stage(run, here.cohort(run))
    assert run.error is None
    assert sizes == [8]


def test_without_dropout_both_passes_agree():
    terms, _ = both_passes("classification", batch_of("classification"), training=False)
    assert terms["kl"].item() == pytest.approx(0, abs=1e-12)


def test_the_divergence_does_not_shrink_with_the_number_of_classes():
    """KLDivLoss with its default reduction divides by the number of classes."""
    from harness_plugins.rdrop import _symmetric_kl

    from harness.api.batch import Batch

    first, second = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    more = torch.full((1, 98), -math.inf)
    batch = Batch("classification", ("0",), {}, torch.tensor([0]))
    few, many = (
        _symmetric_kl(*pair, batch) for pair in ((first, second), (torch.cat([z, more], -1) for z in (first, second)))
    )
    assert many.item() == pytest.approx(few.item(), rel=1e-5)


def test_alpha_is_the_weight_of_the_divergence():
    method = METHOD(METHOD.Config(alpha=0.5), task=None, student=None, teachers=(), seed=1)
    assert method.weights(None) == {"kl": 0.5}
    assert METHOD.min_teachers == METHOD.max_teachers == 0
