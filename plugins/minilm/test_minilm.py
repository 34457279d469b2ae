"""Stages, options and model checks of minilm. tests/reference compares the terms with their formulas."""

import pytest
from pydantic import ValidationError
from transformers import PreTrainedModel

from harness.api.errors import UserError
from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model


def double(**sizes) -> PreTrainedModel:
    return tiny_model(**sizes).double()


def bound_method(config=None, **student):
    cls = Host.create().methods["minilm"]
    shape = ModelShape("small", **{"layers": 6, "hidden": 312, "heads": 12, "ffn": 1200, **student})
    task = TaskInfo("sst2", "classification", 2)
    return cls(cls.Config(**(config or {})), task=task, student=shape, teachers=[BASE], seed=1)


BASE = ModelShape("base", 12, 768, 12, 3072)


def test_stage_finetune_comes_last():
    assert [(stage.name, stage.share, bool(stage.needs.teachers)) for stage in bound_method().stages()] == [
        ("distill", 2, True),
        ("finetune", 1, False),
    ]


@pytest.mark.parametrize(("hidden", "heads"), [(768, 48), (312, 24), (384, 48), (128, 32)])
def test_relation_heads_are_the_largest_common_divisor_up_to_48(hidden, heads):
    assert bound_method({"version": 2}, hidden=hidden).notes() == {"teacher_layer": 12, "relation_heads": heads}


def test_errors_for_models_name_both_numbers():
    batch = tiny_batch("classification")

    def expect_error(words, config, **student):
        with pytest.raises(UserError, match=words):
            loss_terms("minilm", student=double(**student), teachers=[double()], batch=batch, config=config)

    expect_error("student has 2, teacher 1 has 4", {}, heads=2)
    expect_error(
        "relation_heads 16 does not divide both widths: student has 24, teacher 1 has 32",
        {"version": 2, "relation_heads": 16},
        hidden=24,
        heads=3,
    )
    expect_error("teacher_layer is 3; teacher 1 has 2 layers", {"teacher_layer": 3})
    with pytest.raises(ValidationError, match="relation_heads is 12, but version 1 has none"):
        bound_method({"relation_heads": 12})
