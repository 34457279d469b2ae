"""Terms of annealing_kd against loops over the formula, its schedule and its stages."""

import math

import pytest

from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from tests.reference import reading
from tests.reference.formulas import mean

KINDS = ["classification", "multilabel", "regression", "token_classification", "qa"]
METHOD = Host.create().methods["annealing_kd"]


def models(kind):
    sizes = ({"layers": 2, "hidden": 16, "seed": 1}, {"layers": 3, "hidden": 32, "seed": 2})
    return [tiny_model(kind=kind, **each).double() for each in sizes]


def distance(kind, own, theirs, phi, reduction):
    """Of one distribution; a class of a multilabel task is (z, 0)."""
    squares = [(a - phi * b) ** 2 for a, b in zip(own, theirs, strict=True)]
    squares = squares[:1] if kind == "multilabel" else squares
    return math.fsum(squares) / (len(squares) if reduction == "mean" else 1)


@pytest.mark.parametrize(("index", "phi"), [(0, 1 / 7), (1, 1 / 7), (2, 2 / 7), (7, 4 / 7), (13, 1.0)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_distance_is_that_of_the_formula(kind, index, phi):
    (student, teacher), batch = models(kind), tiny_batch(kind)
    pairs = list(zip(reading.read(student, batch), reading.read(teacher, batch), strict=True))
    for reduction in ("sum", "mean"):
        config = {"reduction": reduction}
        inputs = {"student": student, "teachers": [teacher], "batch": batch, "config": config}
        term = loss_terms(METHOD, **inputs, index=index, steps=14)["anneal"].item()
        expected = mean(
            mean(distance(kind, a, b, phi, reduction) for a, b in zip(s.logits, t.logits, strict=True))
            for s, t in pairs
        )
        assert term == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("most", "steps"), [(7, 7), (3, 9), (10, 30), (1, 4), (5, 3)])
def test_the_temperature_falls_to_1_in_equal_shares(most, steps):
    (student, teacher), batch = models("regression"), tiny_batch("regression")
    read = [reading.read(model, batch) for model in (student, teacher)]
    for index in range(steps):
        temperature = max(1, math.ceil(round((1 - index / steps) * most, 9)))
        phi = 1 - (temperature - 1) / most
        inputs = {"student": student, "teachers": [teacher], "batch": batch, "config": {"max_temperature": most}}
        term = loss_terms(METHOD, **inputs, index=index, steps=steps)["anneal"].item()
        expected = mean((s.logits[0][0] - phi * t.logits[0][0]) ** 2 for s, t in zip(*read, strict=True))
        assert term == pytest.approx(expected, rel=1e-9)
    assert phi == 1 or steps < most


def test_the_second_stage_reads_labels_only_and_starts_from_the_best_epoch():
    (student, teacher), batch = models("classification"), tiny_batch("classification")
    assert set(loss_terms(METHOD, student=student, teachers=[teacher], batch=batch, stage="labels")) == {"task"}
    seen = []

    class Recorded(METHOD):
        def losses(self, step, *arguments):
            seen[:] = self.stages()
            return super().losses(step, *arguments)

    loss_terms(Recorded, student=student, teachers=[teacher], batch=batch)
    assert [(stage.name, stage.share, stage.starts_from) for stage in seen] == [
        ("anneal", 5, "last"),
        ("labels", 1, "best"),
    ]
    assert seen[1].needs.teachers == ()
