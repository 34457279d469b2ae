"""Terms, weights and options of takd."""

import pytest
from pydantic import ValidationError

from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from tests.reference import formulas, reading

METHOD = Host.create().methods["takd"]


def bound_method(kind="classification", **config):
    student, teacher = ModelShape("small", 4, 312, 12, 1200), ModelShape("assistant", 8, 768, 12, 3072)
    return METHOD(METHOD.Config(**config), task=TaskInfo("t", kind, 4), student=student, teachers=[teacher], seed=1)


@pytest.mark.parametrize("kind", ["classification", "regression", "qa", "multilabel", "token_classification"])
@pytest.mark.parametrize("config", [{}, {"temperature": 2.5, "kd_weight": 0.9}])
def test_the_terms_are_the_formulas(kind, config):
    student = tiny_model(kind=kind, num_labels=3, layers=2, hidden=16, heads=4, seed=1).double()
    teacher = tiny_model(kind=kind, num_labels=3, layers=4, hidden=24, heads=4, seed=2).double()
    batch = tiny_batch(kind, batch=4, length=9, num_labels=3, seed=3)
    found = loss_terms(METHOD, student=student, teachers=[teacher], batch=batch, config=config)
    options = {"temperature": METHOD.Config(**config).temperature}
    case = formulas.Case(
        kind,
        reading.read(student, batch),
        [reading.read(teacher, batch)],
        reading.labels(batch, kind),
        options,
        maps={},
        drawn=[],
    )
    expected = formulas.logit_kd(case)
    assert {name: term.item() for name, term in found.items()} == pytest.approx(expected, rel=1e-6)


def test_weights():
    assert bound_method().weights(None) == {"task": 0.5, "kd": 0.5}
    assert bound_method(kd_weight=0.9).weights(None) == pytest.approx({"task": 0.1, "kd": 0.9})


def test_the_scale_of_the_code_is_a_mean_over_classes():
    """The authors' element-wise mean shrinks with the number of classes; the sum of the formula does not."""
    assert bound_method(kd_scale="code").weights(None) == pytest.approx({"task": 0.5, "kd": 0.5 / 4})
    assert bound_method("regression", kd_scale="code").weights(None) == {"task": 0.5, "kd": 0.5}


@pytest.mark.parametrize("config", [{"kd_weight": 1.1}, {"kd_weight": -0.1}, {"temperature": 0}])
def test_options_out_of_range_are_an_error(config):
    with pytest.raises(ValidationError, match=next(iter(config))):
        bound_method(**config)
