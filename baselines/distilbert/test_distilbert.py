"""Stages, terms and model checks of distilbert. tests/reference compares the terms with their formulas."""

import pytest

from harness.api.errors import UserError
from harness.testing import loss_terms, tiny_batch, tiny_model


def test_the_text_stage_is_zero_if_the_student_is_the_teacher():
    teacher = tiny_model(kind="text").double()
    terms = loss_terms("distilbert", student=teacher, teachers=[teacher], batch=tiny_batch("text"), stage="general")
    assert terms["mlm_kd"].item() == pytest.approx(0, abs=1e-12)
    assert terms["cosine"].item() == pytest.approx(0, abs=1e-12)
    assert terms["mlm"].item() > 0


@pytest.mark.parametrize("kind", ["classification", "regression", "qa"])
def test_finetune_has_the_labels_and_with_alpha_the_soft_targets(kind):
    student, teacher = tiny_model(kind=kind), tiny_model(kind=kind, layers=4, seed=1)
    batch = tiny_batch(kind)
    default = loss_terms("distilbert", student=student, teachers=[teacher], batch=batch)
    with_alpha = loss_terms("distilbert", student=student, teachers=[teacher], batch=batch, config={"alpha": 0.3})
    logit_kd = loss_terms("logit_kd", student=student, teachers=[teacher], batch=batch, config={"temperature": 2.0})
    assert default.keys() == {"task"}
    assert with_alpha == logit_kd


def test_unequal_widths_are_an_error():
    student, teacher = tiny_model(kind="text", hidden=16), tiny_model(kind="text")
    with pytest.raises(UserError, match="equal widths: student has 16, teacher 1 has 32"):
        loss_terms("distilbert", student=student, teachers=[teacher], batch=tiny_batch("text"))
