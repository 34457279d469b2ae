"""Warm-up and rounds with a fake clock that only the calls advance."""

import statistics
from collections import Counter

import pytest

from harness.latency import timing_protocol
from harness.storage.latency_records import paired_ratio

FOREVER = 10**18


class Machine:
    """A fake clock, and calls with given durations."""

    def __init__(self) -> None:
        self.now = 0
        self.calls: list[str] = []

    def clock(self) -> int:
        return self.now

    def call(self, name, durations):
        steps = iter(durations)

        def run():
            self.calls.append(name)
            self.now += next(steps)

        return run


def forever(value):
    while True:
        yield value


@pytest.fixture
def machine():
    return Machine()


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([100] * 9, False),
        ([100] * 10, True),
        ([100] * 5 + [105] * 5, True),
        ([100] * 5 + [106] * 5, False),
        ([100] * 5 + [94] * 5, False),
        ([100] * 5 + [900, 900, 100, 100, 100], True),
        ([900] * 20 + [100] * 10, True),
    ],
    ids=["too few", "steady", "at 5 %", "over 5 %", "falling", "outliers do not count", "only the end counts"],
)
def test_settled(times, expected):
    assert timing_protocol.settled(times) is expected


def test_warm_up_ends_when_the_median_has_settled(machine):
    call = machine.call("m", [1000, 900, 800, 700, 600, *[100] * 50])
    warm = timing_protocol.warm_up(call, calls=50, deadline=FOREVER, clock=machine.clock)
    # calls 6 to 10 against 1 to 5 differ; with three of the first five windows' calls at 100, medians agree
    assert warm == timing_protocol.WarmUp(calls=13, settled=True)
    assert len(machine.calls) == 13


def test_warm_up_is_limited_to_a_number_of_calls(machine):
    call = machine.call("m", (100 * 2**n for n in range(60)))
    assert timing_protocol.warm_up(call, calls=12, deadline=FOREVER, clock=machine.clock) == timing_protocol.WarmUp(
        12, False
    )


def test_warm_up_calls_once_even_after_the_deadline(machine):
    call = machine.call("m", forever(100))
    assert timing_protocol.warm_up(call, calls=50, deadline=0, clock=machine.clock) == timing_protocol.WarmUp(1, False)


def groups(machine):
    costs = (("a", 10), ("b", 30), ("c", 20))
    return {
        shape: [{name: machine.call(f"{shape}{name}", forever(cost)) for name, cost in costs}] for shape in ("s", "t")
    }


def test_every_call_is_timed_once_a_round_in_changing_order(machine):
    times = timing_protocol.interleaved(groups(machine), rounds=40, deadline=FOREVER, seed=1, clock=machine.clock)
    assert times == {shape: {"a": [10] * 40, "b": [30] * 40, "c": [20] * 40} for shape in ("s", "t")}
    rounds = [machine.calls[i : i + 6] for i in range(0, 240, 6)]
    assert all(sorted(calls) == ["sa", "sb", "sc", "ta", "tb", "tc"] for calls in rounds)
    assert all(len({call[0] for call in calls[:3]}) == 1 for calls in rounds), "models of one shape are consecutive"
    assert {calls[0][0] for calls in rounds} == {"s", "t"}
    firsts = Counter(call[1] for calls in rounds for call in (calls[0], calls[3]))
    assert set(firsts) == {"a", "b", "c"}
    assert max(firsts.values()) < 50, "no model is always the first of the 80"


def test_a_round_uses_one_variant_for_all_models_and_all_variants_in_turn(machine):
    variants = [
        {name: machine.call(f"{variant}{name}", forever(10 + variant)) for name in ("a", "b")} for variant in range(4)
    ]
    times = timing_protocol.interleaved({"s": variants}, rounds=12, deadline=FOREVER, seed=1, clock=machine.clock)["s"]
    assert times["a"] == times["b"], "the same variant in the same round"
    passes = [times["a"][first : first + 4] for first in (0, 4, 8)]
    assert all(sorted(durations) == [10, 11, 12, 13] for durations in passes)
    assert passes[0] != passes[1] or passes[1] != passes[2], "in changing order"


def test_the_order_depends_on_the_seed(machine):
    def order(seed):
        fresh = Machine()
        timing_protocol.interleaved(groups(fresh), rounds=5, deadline=FOREVER, seed=seed, clock=fresh.clock)
        return fresh.calls

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_only_the_first_round_starts_after_the_deadline(machine):
    def n(deadline):
        fresh = Machine()
        times = timing_protocol.interleaved(groups(fresh), rounds=40, deadline=deadline, seed=1, clock=fresh.clock)
        return {len(nanoseconds) for group in times.values() for nanoseconds in group.values()}

    assert n(0) == {1}
    assert n(250) == {3}  # a round takes 120, so the third begins at 240


def test_a_disturbance_of_a_round_cancels_in_the_ratio(machine):
    noise = [1, 7, 1, 3, 50, 1, 1, 9, 2, 1, 1, 4] * 3
    steps = {"a": (100 * n for n in noise), "b": (130 * n for n in noise)}
    calls = {"s": [{name: machine.call(name, durations) for name, durations in steps.items()}]}
    times = timing_protocol.interleaved(calls, rounds=36, deadline=FOREVER, seed=3, clock=machine.clock)["s"]
    ratio = paired_ratio(times["b"], times["a"])
    assert (ratio.median, ratio.low, ratio.high) == pytest.approx((1.3, 1.3, 1.3))
    assert statistics.pstdev(times["a"]) > 500


def test_a_time_is_at_least_a_nanosecond(machine):
    assert timing_protocol.timed(machine.call("m", [0]), machine.clock) == 1
