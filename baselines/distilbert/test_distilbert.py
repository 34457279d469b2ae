"""What distilbert learns when, and what it asks of its models. Its terms are held to their formulas in
tests/reference."""

import pytest

from harness.api.errors import UserError
from harness.testing import loss_terms, tiny_batch, tiny_model


def test_the_general_stage_is_zero_for_the_teacher_itself():
    teacher = tiny_model(kind="text").double()
    terms = loss_terms("distilbert", student=teacher, teachers=[teacher], batch=tiny_batch("text"), stage="general")
    assert terms["mlm_kd"].item() == pytest.approx(0, abs=1e-12)
    assert terms["cosine"].item() == pytest.approx(0, abs=1e-12)
    assert terms["mlm"].item() > 0


@pytest.mark.parametrize("kind", ["classification", "regression", "qa"])
def test_finetune_has_the_labels_and_the_teacher_if_asked(kind):
    student, teacher = tiny_model(kind=kind), tiny_model(kind=kind, layers=4, seed=1)
    batch = tiny_batch(kind)
    alone = loss_terms("distilbert", student=student, teachers=[teacher], batch=batch)
    both = loss_terms("distilbert", student=student, teachers=[teacher], batch=batch, config={"alpha": 0.3})
    hinton = loss_terms("logit_kd", student=student, teachers=[teacher], batch=batch, config={"temperature": 2.0})
    assert alone.keys() == {"task"}
    assert both == hinton


def test_unequal_widths_are_refused():
    student, teacher = tiny_model(kind="text", hidden=16), tiny_model(kind="text")
    with pytest.raises(UserError, match="equal widths: student has 16, teacher 1 has 32"):
        loss_terms("distilbert", student=student, teachers=[teacher], batch=tiny_batch("text"))
