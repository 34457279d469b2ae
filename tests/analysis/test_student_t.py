"""Student's distribution against its closed forms, far into the tails."""

import math

import numpy as np
import pytest

from harness.analysis.student_t import quantile, tail


def tail_of_1(t):
    return 2 / math.pi * math.atan(1 / t)


def tail_of_2(t):
    root = math.hypot(t, math.sqrt(2))
    return 2 / (root * (root + t))


@pytest.mark.parametrize(("freedom", "expected"), [(1, tail_of_1), (2, tail_of_2)])
@pytest.mark.parametrize("t", [0.1, 1.0, 12.0, 1e6, 1e15])
def test_tails_and_quantiles(freedom, expected, t):
    assert float(tail(t, freedom)) == pytest.approx(expected(t), rel=1e-12, abs=0)
    assert float(quantile(expected(t), freedom)) == pytest.approx(t, rel=1e-10)


def test_quantiles_are_the_inverse_of_tails():
    p, freedom = np.array([0.9, 0.05, 1e-9, 1e-30]), np.array([[1.3], [5.0], [31.5], [5e4]])
    assert tail(quantile(p, freedom), freedom) == pytest.approx(np.broadcast_to(p, (4, 4)), rel=1e-10, abs=0)


def test_the_limits_of_t_and_of_degrees_of_freedom():
    assert float(tail(0.0, 3.0)) == pytest.approx(1.0)
    assert float(tail(5.0, 1e7)) == float(tail(5.0, 1e5)), "as many degrees as count"
    assert float(tail(5.0, 1e7)) == pytest.approx(5.733e-7, rel=0.01), "that of the normal distribution"
