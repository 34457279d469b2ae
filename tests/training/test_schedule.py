import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.method import Needs, Stage
from harness.suite.schema import StageOverride
from harness.training.schedule import learning_rate, stage_steps


def stage(name, **values):
    return Stage(name, Needs(), **values)


def test_shares_split_the_runs_steps():
    stages = [stage("intermediate", share=2), stage("prediction", share=1)]
    assert stage_steps(stages, {}, epochs=3, batches_per_epoch=10) == [20, 10]


def test_a_stage_with_a_length_of_its_own_is_outside_the_split():
    stages = [stage("a", steps=7), stage("b", share=1), stage("c", share=1)]
    assert stage_steps(stages, {}, epochs=1, batches_per_epoch=10) == [7, 5, 5]


def test_the_suite_has_the_last_word():
    stages = [stage("a", steps=7), stage("b")]
    overrides = {"a": StageOverride(epochs=2), "b": StageOverride(steps=3)}
    assert stage_steps(stages, overrides, epochs=1, batches_per_epoch=10) == [20, 3]


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=5), st.floats(0.1, 5), st.integers(1, 50))
def test_every_stage_gets_a_step_and_no_step_is_lost(shares, epochs, batches):
    steps = stage_steps(
        [stage(str(i), share=s) for i, s in enumerate(shares)], {}, epochs=epochs, batches_per_epoch=batches
    )
    assert all(count >= 1 for count in steps)
    budget = max(1, round(epochs * batches))
    assert budget <= sum(steps) <= max(budget, budget + len(shares) - 1)


def test_learning_rate_warms_up_and_decays():
    rates = [learning_rate(1.0, step, 20, 0.1) for step in range(20)]
    assert rates[0] == pytest.approx(1 / 3)
    assert max(rates) == rates[2] == 1.0
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.06
