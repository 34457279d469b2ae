"""The terms of avg_mt equal formulas as plain loops, for every target and kind of task."""

import pytest
import torch

from harness.testing import loss_terms, tiny_model
from tests.reference.comparison import assert_terms_equal
from tests.reference.formulas import Case, kl, mean, softmax, task
from tests.reference.odd_batches import one_example, one_token
from tests.reference.reading import Example, Vector
from tests.reference.settings import CLASSES, Setting, batch_of

KINDS = ["classification", "multilabel", "regression", "token_classification", "qa"]
TARGETS = ["each", "mean_probs", "mean_logits"]
THREE = ({}, {"hidden": 24, "layers": 2}, {"layers": 3})


def settings(target: str) -> Setting:
    return Setting("avg_mt", config={"target": target, "temperature": 2.0}, teachers=THREE)


def oracle(case: Case) -> dict[str, float]:
    t, target = case.options["temperature"], case.options["target"]

    def kd(own: Vector, theirs: list[Vector]) -> float:
        """Of one distribution, from its logits by all teachers."""
        mean_logits = [mean(values) for values in zip(*theirs, strict=True)]
        if case.kind == "regression":
            targets = theirs if target == "each" else [mean_logits]
            return mean((own[0] - z[0]) ** 2 for z in targets)
        probabilities = [softmax(z, t) for z in ([mean_logits] if target == "mean_logits" else theirs)]
        if target == "mean_probs":
            probabilities = [[mean(values) for values in zip(*probabilities, strict=True)]]
        return t**2 * mean(kl(p, softmax(own, t)) for p in probabilities)

    def of_example(s: Example, theirs: list[Example]) -> float:
        distributions = zip(*(each.logits for each in theirs), strict=True)
        return mean(kd(own, [*each]) for own, each in zip(s.logits, distributions, strict=True))

    examples = zip(case.student, zip(*case.teachers, strict=True), strict=True)
    return {"kd": mean(of_example(s, [*theirs]) for s, theirs in examples), "task": task(case)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", TARGETS)
def test_the_terms_are_the_formulas(target, kind):
    terms = assert_terms_equal(settings(target), kind, oracle)
    assert all(term > 1e-6 for term in terms.values())


@pytest.mark.parametrize("odd", [one_example, one_token])
@pytest.mark.parametrize("target", TARGETS)
def test_odd_batches(target, odd):
    assert_terms_equal(settings(target), "qa", oracle, batch=odd("qa"))


@pytest.mark.parametrize("kind", KINDS)
def test_one_teacher_is_logit_kd(kind):
    student, teacher = (tiny_model(kind=kind, num_labels=CLASSES, seed=seed).double() for seed in (1, 2))
    given = {"student": student, "teachers": [teacher], "batch": batch_of(kind)}
    expected = {name: term.item() for name, term in loss_terms("logit_kd", **given).items()}
    for target in TARGETS:
        found = loss_terms("avg_mt", **given, config={"target": target})
        assert {name: term.item() for name, term in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("temperature", [0.5, 20.0])
def test_the_lowest_value_of_qa_stays_out(target, temperature):
    """The sum of two lowest values is -inf, and so is one of them divided by a temperature below 1."""
    student, *teachers = (tiny_model(kind="qa", seed=seed) for seed in (1, 2, 3))
    config = {"target": target, "temperature": temperature}
    terms = loss_terms("avg_mt", student=student, teachers=teachers, batch=batch_of("qa"), config=config)
    terms["kd"].backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(p.grad.isfinite().all() for p in student.parameters() if p.grad is not None)
    assert torch.isfinite(student.qa_outputs.weight.grad).all()
