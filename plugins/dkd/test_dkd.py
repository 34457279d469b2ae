"""The terms of dkd equal formulas as plain loops and add up to soft targets; what is off or refused, and weights."""

import math

import pytest
import torch
from pydantic import ValidationError

from harness.api.errors import UserError
from harness.api.method import Step, TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from plugins.dkd.decoupled_kl import decoupled_kl
from tests.reference.comparison import assert_terms_equal
from tests.reference.formulas import Case, kl, mean, softmax, task
from tests.reference.odd_batches import in_other_types, one_example, one_token
from tests.reference.settings import Setting

METHOD = Host.create().methods["dkd"]
KINDS = ["classification", "multilabel", "token_classification", "qa"]
SETTINGS = [
    Setting("dkd"),
    Setting("dkd", config={"temperature": 1.0}, student={"layers": 3}, teachers=({"hidden": 24, "heads": 2},)),
    Setting("dkd", config={"temperature": 0.5, "beta": 0.0}),
]


def split(p: list[float], y: int) -> tuple[list[float], list[float]]:
    """The class y against the others, and the others among each other."""
    others = [share for c, share in enumerate(p) if c != y]
    rest = math.fsum(others)
    return [p[y], rest], [share / rest for share in others]


def oracle(case: Case) -> dict[str, float]:
    t = case.options["temperature"]

    def part(index: int) -> float:
        def of_example(s, teacher, labels) -> float:
            each = zip(s.logits, teacher.logits, labels, strict=True)
            return mean(
                kl(split(softmax(b, t), int(y))[index], split(softmax(a, t), int(y))[index]) for a, b, y in each
            )

        return t**2 * case.over_examples(of_example)

    terms = {"task": task(case), "tckd": part(0)}
    return terms if case.kind == "multilabel" else {**terms, "nckd": part(1)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_the_terms_are_the_formulas(setting, kind):
    assert_terms_equal(setting, kind, oracle)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("odd", [one_example, one_token])
def test_odd_batches(odd, kind):
    assert_terms_equal(Setting("dkd", config={"temperature": 2.0}), kind, oracle, batch=odd(kind))


def test_a_mask_of_integers_is_a_mask():
    assert_terms_equal(Setting("dkd"), "qa", oracle, batch=in_other_types("qa"))


def models(kind="classification", labels=3):
    sizes = ({"layers": 2, "seed": 1}, {"layers": 4, "seed": 2})
    student, teacher = (tiny_model(kind=kind, num_labels=labels, **each).double() for each in sizes)
    return {"student": student, "teachers": [teacher]}


def soft_targets(**given):
    return loss_terms("logit_kd", **given, config={"temperature": 4.0})["kd"].item()


def test_the_parts_of_an_example_add_up_to_soft_targets():
    """Equation 7: KD = TCKD + (1 - p_T[y]) NCKD."""
    given = {**models(), "batch": {name: each[:1] for name, each in tiny_batch("classification").items()}}
    terms = loss_terms(METHOD, **given)
    logits = given["teachers"][0].eval()(**{n: t for n, t in given["batch"].items() if n != "labels"}).logits
    sure = softmax(logits[0].tolist(), 4.0)[int(given["batch"]["labels"][0])]
    assert terms["tckd"].item() + (1 - sure) * terms["nckd"].item() == pytest.approx(soft_targets(**given), rel=1e-9)


@pytest.mark.parametrize(("kind", "labels"), [("classification", 2), ("token_classification", 2), ("multilabel", 3)])
def test_with_two_choices_it_is_soft_targets(kind, labels):
    given = {**models(kind, labels), "batch": tiny_batch(kind, num_labels=labels)}
    terms = loss_terms(METHOD, **given)
    assert terms.keys() == {"task", "tckd"}
    assert terms["tckd"].item() == pytest.approx(soft_targets(**given), rel=1e-9)


def test_sure_predictions_have_finite_terms_and_gradients():
    """In float32, softmax is 0 where a logit is 104 below the largest, and the logarithm of that is infinite."""
    student = torch.tensor([[300.0, 0.0, -300.0], [-300.0, 300.0, 0.0]], requires_grad=True)
    teacher, target = torch.tensor([[-300.0, 300.0, 0.0], [300.0, -300.0, 0.0]]), torch.tensor([0, 0])
    terms = decoupled_kl(student, teacher, target, 1.0)
    assert [term.tolist() for term in terms] == [[300.0, 600.0], [0.0, 300.0]]
    sum(term.sum() for term in terms).backward()
    assert student.grad.isfinite().all()


def test_a_teacher_that_knows_the_target_only_ranks_no_others():
    """QA with another tokenizer: no token of the teacher may belong to the other positions."""
    lowest = torch.finfo(torch.float32).min
    student = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    tckd, nckd = decoupled_kl(student, torch.tensor([[0.0, lowest, lowest]]), torch.tensor([0]), 2.0)
    nckd.sum().backward()
    assert (nckd.item(), student.grad.tolist()) == (0, [[0, 0, 0]])
    assert tckd.item() == pytest.approx(-math.log(softmax([1, 2, 3], 2.0)[0]))


def bound(kind="classification", labels=3, **config):
    student, teacher = ModelShape("small", 4, 312, 12, 1200), ModelShape("base", 12, 768, 12, 3072)
    return METHOD(
        METHOD.Config(**config), task=TaskInfo("t", kind, labels), student=student, teachers=[teacher], seed=1
    )


def weights(method, steps=24):
    (stage,) = method.stages()
    return [method.weights(Step(stage, index, steps, 0.0, 1.0, None, None)) for index in range(steps)]


def test_both_weights_rise_in_the_warm_up():
    found = weights(bound(alpha=2.0, beta=4.0, kd_warmup=1 / 6))
    assert [each["tckd"] for each in found[:5]] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert [each["nckd"] for each in found[:5]] == [1.0, 2.0, 3.0, 4.0, 4.0]
    assert found[-1] == {"tckd": 2.0, "nckd": 4.0}


@pytest.mark.parametrize("steps", [1, 24])
def test_without_a_warm_up_the_weights_are_those_of_the_options(steps):
    assert weights(bound(kd_warmup=0), steps) == [{"tckd": 1.0, "nckd": 8.0}] * steps


def test_a_weight_is_given_only_to_a_term():
    assert weights(bound(labels=2, kd_warmup=0), 1) == weights(bound("multilabel", kd_warmup=0), 1) == [{"tckd": 1.0}]


@pytest.mark.parametrize(
    ("kind", "labels", "off"), [("qa", 2, False), ("classification", 3, False), ("multilabel", 3, True)]
)
def test_the_record_says_what_is_off(kind, labels, off):
    assert ("nckd" in bound(kind, labels).notes()) == off
    assert bound(labels=2).notes()["nckd"].startswith("off: besides the label there is at most one other class")


def test_a_number_has_no_classes():
    with pytest.raises(UserError, match="regression task, which has no classes: use logit_kd"):
        loss_terms(METHOD, **models("regression", 1), batch=tiny_batch("regression"))


@pytest.mark.parametrize("config", [{"beta": -1}, {"kd_warmup": 1.5}, {"temperature": 0}])
def test_options_out_of_range_are_an_error(config):
    with pytest.raises(ValidationError, match=next(iter(config))):
        bound(**config)
