"""Terms of continuation_kd against loops over the formula, and its moving weights."""

import math

import pytest

from harness.api.method import Needs, Stage, Step
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from tests.reference import reading
from tests.reference.formulas import label_loss, mean

KINDS = ["classification", "multilabel", "regression", "token_classification", "qa"]
METHODS = Host.create().methods
METHOD = METHODS["continuation_kd"]


def models(kind):
    sizes = ({"layers": 2, "hidden": 16, "seed": 1}, {"layers": 3, "hidden": 32, "seed": 2})
    return [tiny_model(kind=kind, **each).double() for each in sizes]


def terms_of(kind, index=0, steps=10, **config):
    (student, teacher), batch = models(kind), tiny_batch(kind)
    inputs = {"student": student, "teachers": [teacher], "batch": batch, "config": config}
    terms = {name: term.item() for name, term in loss_terms(METHOD, **inputs, index=index, steps=steps).items()}
    return terms, reading.read(student, batch), reading.read(teacher, batch), reading.labels(batch, kind)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(("index", "phi"), [(0, 0.1), (4, 0.5), (9, 1.0)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_are_the_formulas(kind, index, phi, reduction):
    margin = 0.02
    terms, own, theirs, labels = terms_of(kind, index, margin=margin, reduction=reduction)

    def hinge(a, b):
        squares = [(x - phi * y) ** 2 for x, y in zip(a, b, strict=True)]
        squares = squares[:1] if kind == "multilabel" else squares  # a class of a multilabel task is (z, 0)
        distance = math.fsum(squares) / (len(squares) if reduction == "mean" else 1)
        return max(0.0, distance - margin * phi)

    hinges = [[hinge(a, b) for a, b in zip(s.logits, t.logits, strict=True)] for s, t in zip(own, theirs, strict=True)]
    task = mean(
        mean(label_loss(kind, z, y) for z, y in zip(s.logits, given, strict=True))
        for s, given in zip(own, labels, strict=True)
    )
    assert terms == pytest.approx({"hinge": mean(map(mean, hinges)), "task": task}, rel=1e-9)


def test_the_margin_is_subtracted_from_each_distance_before_the_mean():
    """Examples within the margin count as 0, and others less by the margin, instead of being masked by it."""
    free, *_ = terms_of("classification", 9, margin=0.0)
    some, *_ = terms_of("classification", 9, margin=free["hinge"])
    none, *_ = terms_of("classification", 9, margin=1e6)
    assert 0 < some["hinge"] < free["hinge"]
    assert none["hinge"] == 0


def test_without_a_margin_it_is_annealing_kd():
    for index in (0, 3, 8):
        (student, teacher), batch = models("qa"), tiny_batch("qa")
        inputs = {"student": student, "teachers": [teacher], "batch": batch, "index": index, "steps": 10}
        annealed = loss_terms(METHODS["annealing_kd"], **inputs, config={"max_temperature": 10})["anneal"]
        hinge = loss_terms(METHOD, **inputs, config={"margin": 0.0})["hinge"]
        assert hinge.item() == annealed.item()


@pytest.mark.parametrize(("index", "psi"), [(0, 0.0), (1, 1 / 40), (10, 10 / 40), (20, 20 / 40), (21, 1.0), (29, 1.0)])
def test_the_weights_move_from_the_teacher_to_the_labels(index, psi):
    """With one step an epoch, 30 epochs: the values of the paper."""
    step = Step(Stage("distill", Needs()), index, 30, index, 30, None, None)
    method = METHOD(METHOD.Config(), task=None, student=None, teachers=(), seed=1)
    assert method.weights(step) == pytest.approx({"task": psi, "hinge": 1 - psi})
