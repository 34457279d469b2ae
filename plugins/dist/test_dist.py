"""The terms of dist equal formulas as plain loops; what is off for a kind of task, and weights."""

import math

import pytest
import torch

from harness.api.batch import Batch
from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from plugins.dist.correlation import correlation
from tests.reference.comparison import assert_terms_equal
from tests.reference.formulas import Case, dot, mean, softmax, task
from tests.reference.odd_batches import in_other_types, one_example, one_token
from tests.reference.settings import Setting, batch_of

KINDS = ["classification", "multilabel", "regression", "token_classification", "qa"]
SETTINGS = [
    Setting("dist"),
    Setting("dist", config={"temperature": 4.0}, student={"layers": 3}, teachers=({"hidden": 24, "heads": 2},)),
    Setting("dist", config={"temperature": 0.5, "beta": 0.0}),
]


def pearson(x: list[float], y: list[float]) -> float:
    x, y = ([value - mean(values) for value in values] for values in (x, y))
    return dot(x, y) / (math.sqrt(dot(x, x)) * math.sqrt(dot(y, y)) + 1e-8)


def oracle(case: Case) -> dict[str, float]:
    t = case.options["temperature"]
    terms = {"task": task(case)}

    def rows(example) -> list[list[float]]:
        """The probabilities whose entries are compared: of multilabel one row with those of the classes."""
        of_distributions = [softmax(z, t) for z in example.logits]
        return [[yes for yes, _ in of_distributions]] if case.kind == "multilabel" else of_distributions

    if case.kind != "regression":
        terms["inter"] = t**2 * case.over_examples(
            lambda s, t, y: mean(1 - pearson(a, b) for a, b in zip(rows(s), rows(t), strict=True))
        )
    if case.kind == "regression":
        own, theirs = ([example.logits[0][0] for example in side] for side in (case.student, case.teachers[0]))
        terms["intra"] = 1 - pearson(own, theirs)
    elif case.kind != "qa":
        own, theirs = ([row for each in side for row in rows(each)] for side in (case.student, case.teachers[0]))
        columns = zip(zip(*own, strict=True), zip(*theirs, strict=True), strict=True)
        terms["intra"] = t**2 * mean(1 - pearson([*a], [*b]) for a, b in columns)
    return terms


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_the_terms_are_the_formulas(setting, kind):
    terms = assert_terms_equal(setting, kind, oracle)
    assert terms.keys() == {"task"} | {"regression": {"intra"}, "qa": {"inter"}}.get(kind, {"inter", "intra"})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("odd", [one_example, one_token])
def test_odd_batches(odd, kind):
    assert_terms_equal(Setting("dist", config={"temperature": 2.0}), kind, oracle, batch=odd(kind))


def test_a_mask_of_integers_is_a_mask():
    assert_terms_equal(Setting("dist"), "qa", oracle, batch=in_other_types("qa"))


def test_batches_without_a_labelled_token_have_no_gradient():
    batch = batch_of("token_classification")
    batch["labels"] = torch.full_like(batch["labels"], -100)
    student = tiny_model(kind="token_classification", num_labels=3, seed=1)
    teacher = tiny_model(kind="token_classification", num_labels=3, seed=2)
    terms = loss_terms("dist", student=student, teachers=[teacher], batch=batch)
    assert {name: term.item() for name, term in terms.items()} == {"task": 0, "inter": 0, "intra": 1}
    terms["intra"].backward()
    assert not any(p.grad is not None and p.grad.any() for p in student.parameters())


@pytest.mark.parametrize("kind", ["classification", "multilabel", "token_classification"])
def test_two_classes_teach_only_over_examples(kind):
    """A correlation of two numbers is 1 or -1. Near a student that cannot decide, 1e-8 in the denominator would give it
    a large gradient all the same."""
    models = [tiny_model(kind=kind, layers=layers, seed=layers) for layers in (2, 3)]
    terms = loss_terms("dist", student=models[0], teachers=models[1:], batch=tiny_batch(kind))
    assert not terms["inter"].requires_grad
    assert terms["intra"].requires_grad
    assert 0 <= terms["inter"].item() <= 2
    method = bound(kind, 2)
    assert "2 classes" in method.notes()["inter"]
    assert method.weights(None) == {"inter": 2, "intra": 2}


def bound(kind, num_labels, **config):
    cls = Host.create().methods["dist"]
    shape = ModelShape("any", 2, 16, 4, 16)
    task = TaskInfo("some", kind, num_labels)
    return cls(cls.Config(**config), task=task, student=shape, teachers=[shape], seed=1)


def test_what_is_off_is_noted_and_only_intra_depends_on_the_batch():
    assert bound("classification", 3).notes() == {}
    assert bound("qa", 2).notes() == {"intra": "off: the positions of a text are not classes"}
    assert bound("regression", 1).notes() == {"inter": "off: a regression task has no classes"}
    dependent = {kind: bound(kind, 3).stages()[0].batch_dependent for kind in ("classification", "regression", "qa")}
    assert dependent == {"classification": {"intra"}, "regression": {"intra"}, "qa": frozenset()}
    assert bound("classification", 3, beta=0.5, gamma=3).weights(None) == {"inter": 0.5, "intra": 3}
    assert bound("qa", 2, beta=0.5).weights(None) == {"inter": 0.5}


def test_a_low_temperature_keeps_the_lowest_value_of_qa_out():
    """Divided by a temperature below 1, the lowest value of a dtype is -inf."""
    batch = Batch.from_mapping(batch_of("qa"))
    method = bound("qa", 2, temperature=0.5)
    logits = torch.randn(4, 2, 9).masked_fill(~batch.answer_mask[:, None], torch.finfo(torch.float32).min)
    probabilities = method._probabilities(logits.requires_grad_(), batch)
    assert probabilities.isfinite().all()
    assert torch.allclose(probabilities.sum(-1), torch.ones(4, 2))
    method._inter(probabilities, probabilities.detach().roll(1, -1), batch).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_entries_have_the_correlation_0_and_no_gradient(dtype):
    """1e-8 in the denominator alone would give them a gradient of 1e8."""
    x = torch.full((2, 3), 1 / 3, dtype=dtype, requires_grad=True)
    y = torch.tensor([[1.0, 2, 4], [1, 2, 3]], dtype=dtype)
    found = correlation(x, y)
    assert found.tolist() == [0, 0]
    found.sum().backward()
    assert not x.grad.any()
    nearly = torch.tensor([[0.3, 0.3, 0.31]], dtype=dtype, requires_grad=True)
    assert correlation(nearly, nearly.detach()).item() == pytest.approx(1, abs=2e-3)
