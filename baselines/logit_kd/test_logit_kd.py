"""Weights and options of logit_kd. tests/reference compares the terms with their formulas."""

import pytest
from pydantic import ValidationError

from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host


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
