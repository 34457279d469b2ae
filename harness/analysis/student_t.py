"""Student's t distribution, vectorized, with full relative precision far into the tails.

Holm's correction needs very small p-values; ``1 - P(|T| < t)`` would round them to 0.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

MOST = 1e5
"""Upper limit of degrees of freedom; from here on, t equals the normal distribution to 5 digits."""

SMALLEST = 1e-30
"""Lower limit of p-values, so that none is printed as 0."""


def tail(t: ArrayLike, freedom: ArrayLike) -> Floats:
    """P(|T| > t) for t >= 0. Arguments broadcast."""
    from scipy.special import stdtr  # slow to import

    probability: Floats = 2 * stdtr(np.minimum(freedom, MOST), np.negative(t))
    return probability


def quantile(p: ArrayLike, freedom: ArrayLike) -> Floats:
    """The t with ``tail(t, freedom) = p``."""
    from scipy.special import stdtrit  # slow to import

    root: Floats = -stdtrit(np.minimum(freedom, MOST), np.divide(p, 2))
    return root


@cache
def critical(p: float, freedom: float) -> float:
    """`quantile` for scalars, cached."""
    return float(quantile(p, freedom))
