"""Sizes of the students that are compared."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from harness.api.model_outputs import ModelShape
from harness.distill.student_sizes import student_sizes


def shape(layers=12, hidden=768, heads=12, ffn=3072):
    return ModelShape(name="t", layers=layers, hidden=hidden, heads=heads, ffn=ffn, model_type="bert")


def test_students_copy_half_a_third_and_a_sixth_of_the_layers():
    sizes = student_sizes(shape(), 23_440_896, None)
    assert list(sizes) == ["6x768", "4x768", "2x768"]
    assert all(size["init"] == "uniform" for size in sizes.values())


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
