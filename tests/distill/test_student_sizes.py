"""Sizes of the students that are compared."""

import pytest
from transformers import BertConfig

from harness.config.student_schema import StudentSpec
from harness.distill.student_sizes import fewest_parameters, student_sizes
from harness.models import families, students
from harness.testing.tiny_models import tiny_task
from tests.support.encoder_families import tiny_encoder


def bert(layers=12):
    return BertConfig(num_hidden_layers=layers)


def test_students_copy_half_a_third_and_a_sixth_of_the_layers():
    sizes = student_sizes(bert(), None, 2)
    assert {name: size["init"] for name, size in sizes.items()} == dict.fromkeys(["6x768", "4x768", "2x768"], "uniform")


@pytest.mark.parametrize("depth", [1, 3, 5, 8, 10, 12, 22, 26, 28])
def test_layers_of_a_teacher_of_any_depth_can_be_copied(depth):
    teacher = bert(depth)
    for name, size in student_sizes(teacher, None, 2).items():
        spec = StudentSpec(**size)
        assert students.check(spec, name, families.shape(teacher, "teacher"), None) == []
        assert (spec.init == "uniform") == (depth % spec.layers == 0)
        copied = students.source_layers(spec, depth)
        assert len(set(copied)) == spec.layers
        assert copied[-1] == depth


def test_small_teachers_have_fewer_sizes():
    assert list(student_sizes(bert(2), None, 2)) == ["1x768"]
    assert list(student_sizes(bert(6), None, 2)) == ["3x768", "2x768", "1x768"]


def test_narrower_students_are_added_only_if_all_others_have_too_many_parameters():
    assert list(student_sizes(bert(), 60_000_000, 2)) == ["4x768", "2x768"]
    sizes = student_sizes(bert(), 20_000_000, 2)
    assert sizes
    for size in sizes.values():
        assert size["hidden"] < 768
        assert size["hidden"] % size["heads"] == 0
    fewest = fewest_parameters(bert(), 2)
    assert list(student_sizes(bert(), fewest, 2)) == ["4x96"]
    assert student_sizes(bert(), fewest - 1, 2) == {}


@pytest.mark.parametrize("outputs", [2, 7])
@pytest.mark.parametrize("family", ["BERT", "ALBERT", "ELECTRA", "MobileBERT", "ModernBERT"])
def test_the_number_of_parameters_is_exact(family, outputs):
    teacher = tiny_encoder(family, layers=4)
    sizes = student_sizes(teacher.config, None, outputs)
    name, size = list(sizes.items())[-1]
    student = students.build(
        StudentSpec(**size),
        name=name,
        task=tiny_task("classification", outputs),
        teacher=teacher,
        checkpoint=None,
        seed=0,
    )
    parameters = student.num_parameters()
    assert name in student_sizes(teacher.config, parameters, outputs)
    assert name not in student_sizes(teacher.config, parameters - 1, outputs)
