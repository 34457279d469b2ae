"""What holds for every method's terms, whatever the numbers: padding, order, gradients, identity, defaults."""

from dataclasses import replace

import pytest
import torch

from harness.host import Host
from harness.models.rng import seeded
from harness.testing import loss_terms

from .settings import KINDS, ONE_EACH, Setting, batch_of, copied, model, models

METHODS = Host.create().methods


def terms_of(setting, kind, batch, student=None, teachers=None):
    own, theirs = models(setting, kind)
    given = {"student": student or own, "teachers": teachers or theirs}
    return loss_terms(METHODS[setting.method], **given, batch=batch, stage=setting.stage, config=setting.config)


def values(terms):
    return {name: term.item() for name, term in terms.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", ONE_EACH, ids=str)
def test_padding_further_changes_nothing(setting, kind):
    batch = batch_of(kind)
    padded = {
        name: tensor if tensor.dim() == 1 else torch.nn.functional.pad(tensor, (0, 5)) for name, tensor in batch.items()
    }
    assert values(terms_of(setting, kind, padded)) == pytest.approx(values(terms_of(setting, kind, batch)), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", ONE_EACH, ids=str)
def test_a_batch_is_the_mean_of_its_examples_in_any_order(setting, kind):
    """Each example's loss is its own, but for the terms that compare the examples of a batch: these keep theirs."""
    batch = batch_of(kind)
    whole = values(terms_of(setting, kind, batch))
    shuffled = {name: tensor[torch.tensor([2, 0, 3, 1])] for name, tensor in batch.items()}
    assert values(terms_of(setting, kind, shuffled)) == pytest.approx(whole, rel=1e-9)
    alone = [values(terms_of(setting, kind, {n: t[i : i + 1] for n, t in batch.items()})) for i in range(4)]
    apart = {name: sum(terms[name] for terms in alone) / 4 for name in whole if name not in ("ss", "sc")}
    assert {name: whole[name] for name in apart} == pytest.approx(apart, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", ONE_EACH, ids=str)
def test_gradients_reach_the_student_and_no_teacher(setting, kind):
    student, teachers = models(setting, kind)
    before = [parameter.clone() for teacher in teachers for parameter in teacher.parameters()]
    for name, term in terms_of(setting, kind, batch_of(kind)).items():
        student.zero_grad()
        term.backward(retain_graph=True)
        reached = [p.grad for p in student.parameters() if p.grad is not None]
        assert any(grad.any() for grad in reached), f"{name} teaches nothing"
        assert all(grad.isfinite().all() for grad in reached), name
    student.zero_grad()
    after = [parameter for teacher in teachers for parameter in teacher.parameters()]
    assert all(parameter.grad is None for parameter in after)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


ZERO = {"kd", "patience", "attention", "hidden", "embedding", "value", "qq", "kk", "vv", "emb", "mha", "ffn", "ss"}
"""Terms that are a KL or a squared error; the others are cross-entropies or a contrast."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", ONE_EACH, ids=str)
def test_nothing_is_lost_where_the_student_is_its_teacher(setting, kind):
    twin = model(kind, "student")
    config = {**setting.config, **({"mapping": "uniform"} if "mapping" in setting.config else {})}
    teachers = [copied(twin).double()] * len(setting.teachers)
    terms = values(terms_of(replace(setting, config=config), kind, batch_of(kind), twin, teachers))
    zero = {name for name in terms if name in ZERO or (kind == "regression" and name in ("prediction", "distillation"))}
    assert {name: terms[name] for name in zero} == pytest.approx(dict.fromkeys(zero, 0.0), abs=1e-12)
    assert all(terms[name] > 1e-6 for name in terms.keys() - zero)


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
