"""Sizes of the students that are compared."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from harness.api.model_outputs import ModelShape
from harness.config.student_schema import StudentSpec
from harness.distill.student_sizes import student_sizes
from harness.models import students


def shape(layers=12, hidden=768, heads=12, ffn=3072):
    return ModelShape(name="t", layers=layers, hidden=hidden, heads=heads, ffn=ffn, model_type="bert")


def test_students_copy_half_a_third_and_a_sixth_of_the_layers():
    sizes = student_sizes(shape(), 23_440_896, None)
    assert {name: size["init"] for name, size in sizes.items()} == {
        "6x768": [2, 4, 6, 8, 10, 12],
        "4x768": [3, 6, 9, 12],
        "2x768": [6, 12],
    }


@pytest.mark.parametrize("depth", [1, 3, 5, 8, 10, 12, 22, 26, 28])
def test_layers_of_a_teacher_of_any_depth_can_be_copied(depth):
    teacher = shape(layers=depth)
    for name, size in student_sizes(teacher, 0, None).items():
        spec = StudentSpec(**size)
        assert students.check(spec, name, teacher, None) == []
        assert len(set(spec.init)) == spec.layers
        assert spec.init[-1] == depth
        if depth % spec.layers == 0:
            uniform = StudentSpec(layers=spec.layers, init="uniform")
            assert tuple(spec.init) == students.source_layers(uniform, depth)


def test_small_teachers_have_fewer_sizes():
    assert list(student_sizes(shape(layers=2), 0, None)) == ["1x768"]
    assert list(student_sizes(shape(layers=6), 0, None)) == ["3x768", "2x768", "1x768"]


def test_narrower_students_are_added_only_if_all_others_have_too_many_parameters():
    assert all("x768" in name for name in student_sizes(shape(), 23_440_896, 60_000_000))
    sizes = student_sizes(shape(), 23_440_896, 20_000_000)
    assert sizes
    for size in sizes.values():
        assert size["hidden"] < 768
        assert size["hidden"] % size["heads"] == 0
    assert student_sizes(shape(), 23_440_896, 1000) == {}


@pytest.mark.parametrize("limit", [12_000_000, 30_000_000, 70_000_000])
def test_the_estimated_number_of_parameters_is_close(limit):
    vocabulary = 30_522
    for size in student_sizes(shape(), vocabulary * 768, limit).values():
        hidden = size.get("hidden", 768)
        config = BertConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            num_hidden_layers=size["layers"],
            num_attention_heads=size.get("heads", 12),
            intermediate_size=size.get("ffn", 3072),
        )
        with torch.device("meta"):
            parameters = BertForSequenceClassification(config).num_parameters()
        assert parameters <= 1.05 * limit
