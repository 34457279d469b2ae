"""Stages, switches and model checks of mlkd_bert. tests/reference compares the terms with their formulas."""

import pytest
from transformers import PreTrainedModel

from harness.api.errors import UserError
from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model

LOSSES = ["emb", "mha", "ffn", "ss", "sc", "kd"]
BASE = ModelShape("base", 12, 768, 12, 3072)


def double(**sizes) -> PreTrainedModel:
    return tiny_model(**sizes).double()


def bound_method(kind="classification", config=None, **student):
    cls = Host.create().methods["mlkd_bert"]
    shape = ModelShape("small", **{"layers": 4, "hidden": 312, "heads": 12, "ffn": 1200, **student})
    task = TaskInfo("some", kind, 2)
    return cls(cls.Config(**(config or {})), task=task, student=shape, teachers=[BASE], seed=1)


@pytest.mark.parametrize("off", LOSSES)
def test_every_loss_has_a_switch(off):
    method = bound_method(config={off: False})
    models = {"student": double(seed=1), "teachers": [double(seed=2)]}
    stage_names = [stage.name for stage in method.stages()]
    assert stage_names == ["stage1", "stage2"]
    batch = tiny_batch("classification")
    terms = [loss_terms("mlkd_bert", **models, batch=batch, stage=stage, config={off: False}) for stage in stage_names]
    assert [name for stage_terms in terms for name in stage_terms] == [name for name in LOSSES if name != off]
    needs = set().union(*(stage.needs.student for stage in method.stages()))
    reads = {"emb": "embeddings", "mha": "context[1]", "ffn": "hidden[1]", "kd": "logits"}
    assert {name: need in needs for name, need in reads.items()} == {name: name != off for name in reads}


def test_contrast_is_off_and_noted_without_classes():
    assert "sc" not in bound_method("classification").notes()
    for kind in ("regression", "qa"):
        method = bound_method(kind)
        assert method.notes()["sc"] == f"off: a {kind} task has no classes"
        assert [stage.batch_dependent for stage in method.stages()] == [frozenset(), {"ss"}]
    assert bound_method("classification").stages()[1].batch_dependent == {"ss", "sc"}
    assert bound_method("classification").notes()["layer_map"] == [[3], [6], [9], [12]]


def test_a_stage_without_losses_is_left_out():
    assert [stage.name for stage in bound_method(config=dict.fromkeys(LOSSES[:3], False)).stages()] == ["stage2"]
    only_contrast = {"config": dict.fromkeys(["emb", "mha", "ffn", "ss", "kd"], False)}
    method = bound_method("qa", **only_contrast)
    (problem,) = method.check(method.task, method.student, method.teachers)
    assert "every loss of mlkd_bert is off for some, which is qa" in str(problem)


def test_errors_for_models_name_both_numbers():
    def messages(**student):
        method = bound_method(**student)
        return [str(problem) for problem in method.check(method.task, method.student, method.teachers)]

    assert messages(heads=3) == messages(heads=12) == []
    assert "small has 5 heads, base is 768 wide" in messages(heads=5, hidden=320)[0]
    assert "the student has 5 layers, the teacher 12" in messages(layers=5)[0]
    assert messages(layers=5, heads=5, config={"mha": False, "ffn": False}) == []
    with pytest.raises(UserError, match="student has 5 heads, teacher 1 is 32 wide"):
        loss_terms(
            "mlkd_bert",
            student=double(heads=5, hidden=20),
            teachers=[double()],
            batch=tiny_batch("classification"),
        )
