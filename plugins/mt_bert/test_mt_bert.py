"""mt_bert's maps, its weighing of teachers and what it asks of them. Its terms are held to their formulas in
tests/reference."""

import pytest

from harness.api.errors import UserError
from harness.api.method import TaskInfo
from harness.models.families import shape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model


def test_each_teacher_has_its_own_maps_to_the_students_width():
    student = tiny_model(layers=2, hidden=16)
    teachers = [tiny_model(layers=4, hidden=32), tiny_model(layers=2, hidden=16, seed=5)]
    cls = Host.create().methods["mt_bert"]
    shapes = [shape(each.config, "teacher") for each in teachers]
    own = shape(student.config, "student")
    method = cls(cls.Config(), task=TaskInfo("t", "classification", 2), student=own, teachers=shapes, seed=1)
    maps = method.modules(own, shapes)
    assert sorted(tuple(each.weight.shape) for each in maps.values()) == [(16, 16), (16, 16), (16, 32), (16, 32)]
    assert method.notes() == {"layer_maps": [[2, 4], [1, 2]]}
    (stage,) = method.stages()
    assert stage.needs.teachers == ({"logits", "hidden[2]", "hidden[4]"}, {"logits", "hidden[1]", "hidden[2]"})
    terms = loss_terms("mt_bert", student=student, teachers=teachers, batch=tiny_batch("classification"))
    assert all(term.isfinite() and term > 0 for term in terms.values())


def test_a_teacher_that_is_wrong_teaches_less():
    student, teacher = (tiny_model(layers=layers, seed=layers).double() for layers in (2, 4))
    batch = tiny_batch("classification")
    said = teacher(**{name: each for name, each in batch.items() if name != "labels"}).logits
    right, wrong = {**batch, "labels": said.argmax(-1)}, {**batch, "labels": said.argmin(-1)}
    losses = [
        loss_terms("mt_bert", student=student, teachers=[teacher], batch=each)["distillation"].item()
        for each in (right, wrong)
    ]
    assert losses[0] > losses[1]


def test_depths_that_cannot_be_mapped_name_both_and_the_teacher():
    student, teachers = tiny_model(layers=2), [tiny_model(layers=4), tiny_model(layers=3)]
    batch = tiny_batch("classification")
    with pytest.raises(UserError, match=r"teacher 2: .*the student has 2 layers, the teacher 3"):
        loss_terms("mt_bert", student=student, teachers=teachers, batch=batch)
    assert loss_terms(
        "mt_bert", student=student, teachers=teachers, batch=batch, config={"hidden_loss": False}
    ).keys() == {"distillation", "task"}
