import pytest

from harness.reporting.page.axis_scales import Scale, around


def test_scale_maps_values_within_its_ends():
    scale = Scale(10, 20, 100, 300)
    assert (scale(10), scale(15), scale(20)) == (100, 200, 300)
    assert Scale(1, 100, 0, 200, log=True)(10) == pytest.approx(100)


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (0, 10, False, [0, 2, 4, 6, 8, 10]),
        (84.2, 86.1, False, [84.5, 85, 85.5, 86]),
        (-0.3, 0.3, False, [-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3]),
        (0.9, 120, True, [1, 3, 10, 30, 100]),
        (5, 60, True, [5, 10, 20, 50]),
        (1.1, 1.8, True, [1.2, 1.4, 1.6, 1.8]),
    ],
)
def test_ticks_are_round_and_few(low, high, log, ticks):
    assert Scale(low, high, 0, 1, log).ticks() == pytest.approx(ticks)


@pytest.mark.parametrize("log", [False, True])
def test_scale_of_a_single_value_has_a_margin(log):
    scale = around([5.0], 0, 100, log=log)
    assert scale(5.0) == pytest.approx(50)
    assert scale.ticks()
