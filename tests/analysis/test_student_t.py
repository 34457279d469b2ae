"""Student's distribution against scipy, far into the tails."""

import numpy as np
import pytest
from scipy import stats

from harness.analysis.student_t import quantile, tail


@pytest.mark.parametrize("freedom", [1, 1.3, 2, 3.7, 5, 10, 31.5, 200, 5e4])
@pytest.mark.parametrize("p", [0.9, 0.05, 1e-3, 1e-9, 1e-20, 1e-30])
def test_tails_and_quantiles(freedom, p):
    expected = stats.t.isf(p / 2, freedom)
    assert float(tail(expected, freedom)) == pytest.approx(p, rel=1e-8)
    assert float(quantile(p, freedom)) == pytest.approx(expected, rel=1e-8)


def test_arguments_broadcast():
    quantiles = quantile(np.array([0.05, 0.01]), np.array([[2.0], [30.0]]))
    assert quantiles == pytest.approx(stats.t.isf(np.array([0.05, 0.01]) / 2, np.array([[2.0], [30.0]])))


def test_the_limits_of_t_and_of_degrees_of_freedom():
    assert float(tail(0.0, 3.0)) == pytest.approx(1.0)
    assert float(tail(5.0, 1e7)) == pytest.approx(2 * stats.norm.sf(5.0), rel=0.01), "as many degrees as count"
