import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api.method import Needs, Stage
from harness.config.method_schema import StageOverride
from harness.training.schedule import learning_rate, own_batches_per_epoch, stage_data, stage_steps


def stage(name, **values):
    return Stage(name, Needs(), **values)


def test_steps_are_split_by_shares():
    stages = [stage("intermediate", share=2), stage("prediction", share=1)]
    assert stage_steps(stages, {}, epochs=3, batches_per_epoch=10) == [20, 10]


def test_a_stage_with_an_explicit_length_is_not_part_of_the_split():
    stages = [stage("a", steps=7), stage("b", share=1), stage("c", share=1)]
    assert stage_steps(stages, {}, epochs=1, batches_per_epoch=10) == [7, 5, 5]


def test_the_suites_length_overrides_the_methods():
    stages = [stage("a", steps=7), stage("b")]
    overrides = {"a": StageOverride(epochs=2), "b": StageOverride(steps=3)}
    assert stage_steps(stages, overrides, epochs=1, batches_per_epoch=10) == [20, 3]


def test_a_stage_with_a_batch_size_of_its_own_takes_the_steps_of_its_epochs():
    stages = [stage("a", share=2), stage("b", share=1), stage("c", epochs=2), stage("d", steps=9)]
    own = own_batches_per_epoch({name: StageOverride(batch_size=7) for name in "bcd"}, examples=100)
    assert own == dict.fromkeys("bcd", 15)
    assert stage_steps(stages, {}, epochs=3, batches_per_epoch=10, own=own) == [20, 15, 30, 9]


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=5), st.floats(0.1, 5), st.integers(1, 50), st.integers(1, 50))
def test_the_batch_size_of_the_suite_has_no_effect_on_stages_with_their_own(shares, epochs, batches, of_suite):
    stages = [stage(str(number), share=share) for number, share in enumerate(shares)]
    usual = stage_steps(stages, {}, epochs=epochs, batches_per_epoch=batches)
    own = dict.fromkeys([stage.name for stage in stages], batches)
    assert stage_steps(stages, {}, epochs=epochs, batches_per_epoch=of_suite, own=own) == usual


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=5), st.floats(0.1, 5), st.integers(1, 50))
def test_every_stage_has_a_step_and_the_sum_is_kept(shares, epochs, batches):
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


def test_a_constant_rate_keeps_its_peak_after_warm_up():
    assert [learning_rate(2.0, step, 10, 0.0, "constant") for step in range(10)] == [2.0] * 10
    rates = [learning_rate(2.0, step, 10, 0.2, "constant") for step in range(10)]
    assert rates[:2] == pytest.approx([2 / 3, 4 / 3])
    assert rates[2:] == [2.0] * 8


def test_cosine_decay_is_half_a_period():
    rates = [learning_rate(1.0, step, 10, 0.2, "cosine") for step in range(10)]
    assert rates[2:] == pytest.approx([(1 + math.cos(math.pi * done / 8)) / 2 for done in range(8)])
    assert rates[6] == pytest.approx(0.5)


def test_a_stage_trains_on_augmented_data_unless_the_method_or_the_suite_says_otherwise():
    stages = [stage("a"), stage("b", data="task"), stage("c")]
    overrides = {"b": StageOverride(data="augmented"), "c": StageOverride(data="task")}
    assert stage_data(stages, {}, augmented=True) == ("augmented", "task", "augmented")
    assert stage_data(stages, overrides, augmented=True) == ("augmented", "augmented", "task")
    assert stage_data(stages, overrides, augmented=False) == ("task", "task", "task")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"schedule": "cosin"}, "schedule is 'cosin'; allowed: 'linear', 'constant', 'cosine'"),
        ({"data": "text"}, "data is 'text'; allowed: 'task', 'augmented'"),
        ({"warmup_ratio": 1.0}, "warmup_ratio is 1.0; it must be at least 0 and below 1"),
        ({"warmup_ratio": True}, "warmup_ratio is True"),
    ],
)
def test_a_stage_with_an_unknown_value_raises(values, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        stage("a", **values)


def test_an_override_is_merged_key_by_key_and_a_length_replaces_the_other_kind():
    usual = StageOverride(epochs=20, lr=5e-5, schedule="constant")
    assert usual.merged(StageOverride(epochs=50)) == StageOverride(epochs=50, lr=5e-5, schedule="constant")
    assert usual.merged(StageOverride(steps=7, lr=1e-5)) == StageOverride(steps=7, lr=1e-5, schedule="constant")
    assert usual.merged(StageOverride(warmup_ratio=0.0)).warmup_ratio == 0
