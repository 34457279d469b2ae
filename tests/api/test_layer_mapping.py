import pytest
import torch

from harness.api.errors import UserError
from harness.api.layer_mapping import check, gather, layer_map


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ("uniform", ((3,), (6,), (9,), (12,))),
        ("first", ((1,), (2,), (3,), (4,))),
        ("last", ((9,), (10,), (11,), (12,))),
        ("mean", ((1, 2, 3), (4, 5, 6), (7, 8, 9), (10, 11, 12))),
        ([2, 2, 7, 12], ((2,), (2,), (7,), (12,))),
    ],
)
def test_four_layers_of_twelve(mapping, expected):
    assert layer_map(mapping, 4, 12, seed=1) == expected


def test_a_random_mapping_is_sorted_without_repeats_and_follows_the_seed():
    drawn = [layer_map("random", 4, 12, seed) for seed in range(20)]
    for choice in drawn:
        layers = [layer for (layer,) in choice]
        assert layers == sorted(set(layers))
        assert set(layers) <= set(range(1, 13))
    assert drawn[3] == layer_map("random", 4, 12, 3)
    assert len(set(drawn)) > 10


def test_a_random_mapping_is_equal_in_all_python_versions():
    drawn = [[layer for (layer,) in layer_map("random", 4, 12, seed)] for seed in (1, 2, 3)]
    assert drawn == [[3, 4, 7, 9], [3, 5, 10, 11], [2, 9, 10, 12]]


@pytest.mark.parametrize(
    ("mapping", "student", "teacher", "words"),
    [
        ("uniform", 5, 12, "5 layers, the teacher 12"),
        ("mean", 5, 12, "multiple"),
        ("first", 13, 12, "not deeper"),
        ("random", 13, 12, "not deeper"),
        ([1, 2, 3], 4, 12, "for each student layer, found 3"),
        ([1, 2, 3, 13], 4, 12, "teacher layer 13"),
    ],
)
def test_a_mapping_that_does_not_fit_the_layer_counts_is_an_error(mapping, student, teacher, words):
    assert words in check(mapping, student, teacher).message
    with pytest.raises(UserError, match="teacher 12"):
        layer_map(mapping, student, teacher, seed=1)


def test_gather_is_the_mean_of_the_block():
    tensors = {1: torch.tensor([1.0, 3.0]), 2: torch.tensor([3.0, 5.0])}
    assert gather(tensors, (1, 2)).tolist() == [2.0, 4.0]
    assert gather(tensors, (2,)) is tensors[2]
