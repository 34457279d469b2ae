"""Weights and options of logit_kd. tests/reference compares the other terms with their formulas."""

import math

import pytest
import torch
from pydantic import ValidationError

from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms
from tests.reference import reading
from tests.reference.formulas import kl, mean, softmax
from tests.reference.settings import batch_of, model


def bound_method(**config):
    cls = Host.create().methods["logit_kd"]
    student, teacher = ModelShape("small", 4, 312, 12, 1200), ModelShape("base", 12, 768, 12, 3072)
    task = TaskInfo("sst2", "classification", 2)
    return cls(cls.Config(**config), task=task, student=student, teachers=[teacher], seed=1)


def test_the_weights_sum_to_one():
    assert bound_method(alpha=0.9).weights(None) == pytest.approx({"kd": 0.9, "task": 0.1})
    assert bound_method().weights(None) == {"kd": 0.5, "task": 0.5}


def test_the_stage_needs_only_logits():
    (stage,) = bound_method().stages()
    assert (stage.name, stage.needs.student, stage.needs.teachers) == ("distill", {"logits"}, ({"logits"},))


@pytest.mark.parametrize("config", [{"alpha": 1.1}, {"alpha": -0.1}, {"temperature": 0}])
def test_options_out_of_range_are_an_error(config):
    with pytest.raises(ValidationError, match=next(iter(config))):
        bound_method(**config)


def standardized(logits):
    centre = mean(logits)
    spread = math.sqrt(mean((z - centre) ** 2 for z in logits))
    return [(z - centre) / spread for z in logits]


@pytest.mark.parametrize("kind", ["classification", "token_classification"])
def test_the_standardized_kd_is_what_the_formulas_say(kind):
    student, teacher, batch = model(kind, "student"), model(kind, "teacher"), batch_of(kind)
    config = {"standardize": True, "temperature": 2.0}
    kd = loss_terms("logit_kd", student=student, teachers=[teacher], batch=batch, config=config)["kd"]
    examples = zip(reading.read(student, batch), reading.read(teacher, batch), strict=True)
    distances = [
        mean(
            4 * kl(softmax(standardized(z), 2.0), softmax(standardized(w), 2.0))
            for w, z in zip(own.logits, theirs.logits, strict=True)
        )
        for own, theirs in examples
    ]
    assert kd.item() == pytest.approx(mean(distances), rel=1e-9)
    assert kd > 1e-3


def test_equal_logits_are_standardized_with_a_finite_gradient():
    from harness_baselines.logit_kd import _standardized

    logits = torch.full((1, 3), 2.0, requires_grad=True)
    values = _standardized(logits)
    values[0, 0].backward()
    assert values.tolist() == [[0, 0, 0]]
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "classes", "found"),
    [
        ("classification", 2, "tiny is a classification task with 2 classes"),
        ("multilabel", 3, "tiny is a multilabel task"),
        ("regression", 1, "tiny is a regression task"),
        ("qa", 2, "tiny is a qa task"),
    ],
)
def test_tasks_without_three_classes_cannot_be_standardized(kind, classes, found):
    (problem,) = bound_method(standardize=True).check(TaskInfo("tiny", kind, classes), None, [None])
    assert found in str(problem)
    assert not list(bound_method().check(TaskInfo("tiny", kind, classes), None, [None]))
