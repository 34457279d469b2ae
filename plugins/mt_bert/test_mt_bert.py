"""Layer maps, teacher weights and model checks of mt_bert. tests/reference compares the terms with their formulas."""

import pytest

from harness.api.errors import UserError
from harness.api.method import TaskInfo
from harness.models.families import shape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model


def test_each_teacher_has_projections_to_the_students_width():
    student = tiny_model(layers=2, hidden=16)
    teachers = [tiny_model(layers=4, hidden=32), tiny_model(layers=2, hidden=16, seed=5)]
    cls = Host.create().methods["mt_bert"]
    shapes = [shape(teacher.config, "teacher") for teacher in teachers]
    student_shape = shape(student.config, "student")
    method = cls(cls.Config(), task=TaskInfo("t", "classification", 2), student=student_shape, teachers=shapes, seed=1)
    projections = method.modules(student_shape, shapes)
    assert sorted(tuple(layer.weight.shape) for layer in projections.values()) == [
        (16, 16),
        (16, 16),
        (16, 32),
        (16, 32),
    ]
    assert method.notes() == {"layer_maps": [[2, 4], [1, 2]]}
    (stage,) = method.stages()
    assert stage.needs.teachers == ({"logits", "hidden[2]", "hidden[4]"}, {"logits", "hidden[1]", "hidden[2]"})
    terms = loss_terms("mt_bert", student=student, teachers=teachers, batch=tiny_batch("classification"))
    assert all(term.isfinite() and term > 0 for term in terms.values())


def test_a_wrong_teacher_has_less_weight():
    student, teacher = (tiny_model(layers=layers, seed=layers).double() for layers in (2, 4))
    batch = tiny_batch("classification")
    logits = teacher(**{name: tensor for name, tensor in batch.items() if name != "labels"}).logits
    right, wrong = {**batch, "labels": logits.argmax(-1)}, {**batch, "labels": logits.argmin(-1)}
    losses = [
        loss_terms("mt_bert", student=student, teachers=[teacher], batch=labelled)["distillation"].item()
        for labelled in (right, wrong)
    ]
    assert losses[0] > losses[1]


def test_errors_for_depths_name_the_teacher_and_both_depths():
    student, teachers = tiny_model(layers=2), [tiny_model(layers=4), tiny_model(layers=3)]
    batch = tiny_batch("classification")
    with pytest.raises(UserError, match=r"teacher 2: .*the student has 2 layers, the teacher 3"):
        loss_terms("mt_bert", student=student, teachers=teachers, batch=batch)
    assert loss_terms(
        "mt_bert", student=student, teachers=teachers, batch=batch, config={"hidden_loss": False}
    ).keys() == {"distillation", "task"}
