"""Rungs of successive halving."""

import math

import pytest

from harness.distill.halving import Candidate, epochs_of_rung, ranked, rungs, survivors


def rows(count):
    return [Candidate(f"m{index}", "s") for index in range(count)]


@pytest.mark.parametrize(("candidates", "expected"), [(1, 1), (2, 1), (3, 2), (8, 2), (9, 3), (15, 3), (200, 3)])
def test_there_are_as_many_rungs_as_thirds_of_the_candidates(candidates, expected):
    assert rungs(candidates) == expected


def test_the_best_third_survives_rounded_up_and_ties_keep_their_order():
    scores = dict(zip(rows(7), [0.1, 0.9, 0.5, 0.9, 0.2, 0.3, 0.8], strict=True))
    assert [row.method for row in survivors(scores, higher_is_better=True)] == ["m1", "m3", "m6"]
    assert [row.method for row in survivors(scores, higher_is_better=False)] == ["m0", "m4", "m5"]
    assert survivors({rows(1)[0]: 0.5}, higher_is_better=True) == rows(1)


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("place", range(4))
def test_an_undefined_score_is_the_worst(higher_is_better, place):
    undefined = Candidate("undefined", "s")
    candidates = rows(3)
    candidates.insert(place, undefined)
    scores = {row: math.nan if row == undefined else 0.1 * int(row.method[1:]) for row in candidates}
    assert undefined not in survivors(scores, higher_is_better=higher_is_better)
    assert ranked(scores, higher_is_better=higher_is_better)[-1] == undefined


def test_rungs_share_the_remaining_time():
    limits = {"shortest": 0.1, "longest": 10.0}
    # 600 s for three rungs; 10 trainings at 5 s an epoch: 200 s are 4 epochs.
    assert epochs_of_rung(600, 3, 10, 5.0, **limits) == 4.0
    assert epochs_of_rung(600, 3, 10, 0.001, **limits) == 10.0
    assert epochs_of_rung(0, 1, 10, 5.0, **limits) == 0.1
