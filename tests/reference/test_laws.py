"""What `loss_terms` takes where nothing is said, and what it leaves as it was."""

from dataclasses import replace

import pytest
import torch

from harness.models.initialization import seeded
from harness.plugin_host.host import Host
from harness.testing import loss_terms
from tests.reference.settings import Setting, batch_of, models

METHODS = Host.create().methods


def terms_of(setting, kind, batch):
    student, teachers = models(setting, kind)
    given = {"student": student, "teachers": teachers, "stage": setting.stage, "config": setting.config}
    return loss_terms(METHODS[setting.method], **given, batch=batch)


def values(terms):
    return {name: term.item() for name, term in terms.items()}


STAGES = {
    "finetune": ["finetune"],
    "logit_kd": ["distill"],
    "pkd": ["distill"],
    "tinybert": ["intermediate", "prediction"],
    "minilm": ["distill", "finetune"],
    "mlkd_bert": ["stage1", "stage2"],
    "mt_bert": ["distill"],
}


@pytest.mark.parametrize("method", STAGES)
def test_the_first_stage_and_every_default_are_what_is_taken(method):
    setting = Setting(method, teachers=() if method == "finetune" else ({},))
    first, *others = STAGES[method]
    batch = batch_of("classification")
    plain = values(terms_of(setting, "classification", batch))
    student, teachers = models(setting, "classification")
    assert values(loss_terms(method, student=student, teachers=teachers, batch=batch)) == plain, "by its name"
    for stage, config in ((first, None), (None, {}), (first, {})):
        assert values(terms_of(replace(setting, stage=stage, config=config), "classification", batch)) == plain
    for stage in others:
        assert values(terms_of(replace(setting, stage=stage), "classification", batch)).keys() != plain.keys()


def test_models_batch_and_random_state_are_left_as_they_were():
    setting = Setting("mlkd_bert", "one_stage", {"one_stage": True})
    student, (teacher,) = models(setting, "classification")
    batch = batch_of("classification")
    kept = {name: tensor.clone() for name, tensor in batch.items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in (*student.modules(), *teacher.modules())]
    with seeded(1):
        before = torch.get_rng_state()
        terms_of(setting, "classification", batch)
        assert torch.equal(torch.get_rng_state(), before)
    assert hooks == [
        len(m._forward_hooks) + len(m._forward_pre_hooks) for m in (*student.modules(), *teacher.modules())
    ]
    assert student.config._attn_implementation == teacher.config._attn_implementation == "sdpa"
    assert batch.keys() == kept.keys()
    assert all(torch.equal(batch[name], kept[name]) for name in kept)
