"""Student's t distribution, vectorized, with full relative precision far into the tails.

Holm's correction needs very small p-values; ``1 - P(|T| < t)`` would round them to 0.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

MOST = 1e5
"""Upper limit of degrees of freedom; from here on, t equals the normal distribution to 5 digits."""

SMALLEST = 1e-30
"""Lower limit of p-values, so that none is printed as 0."""


def tail(t: ArrayLike, freedom: ArrayLike) -> Floats:
    """P(|T| > t) for t >= 0. Arguments broadcast.

    With t = sqrt(freedom) / tan(x) the density is sin(x)^(freedom - 1) up to a factor. The integral runs over the
    interval below x that holds all but exp(-40) of it, by Gauss-Legendre quadrature in the square root of the distance
    from the interval's lower end, near which the density of fractional degrees of freedom is not smooth.
    """
    t, freedom = np.broadcast_arrays(np.asarray(t, dtype=float), np.minimum(np.asarray(freedom, dtype=float), MOST))
    nodes, weights = _quadrature()
    end = np.arctan2(np.sqrt(freedom), t)
    decay = (freedom - 1) * t / np.sqrt(freedom) + np.sqrt(freedom)
    width = end - np.maximum(0.0, end - 40 / decay)
    angles = (end - width)[..., None] + width[..., None] * nodes**2
    integral: Floats = _factor(freedom) * width * ((np.sin(angles) ** (freedom[..., None] - 1) * 2 * nodes) @ weights)
    return np.minimum(integral, 1.0)


def quantile(p: ArrayLike, freedom: ArrayLike) -> Floats:
    """The t with ``tail(t, freedom) = p``, for `SMALLEST` / 1e3 <= p < 1 and at least 1 degree of freedom.

    Newton's method for log p as a function of log t. The function is concave, so only a step from the left of the root
    can overshoot; the step length is bounded.
    """
    p, freedom = np.broadcast_arrays(np.asarray(p, dtype=float), np.minimum(np.asarray(freedom, dtype=float), MOST))
    log_p, log_t = np.log(p), np.log(_guess(p, freedom))
    for _ in range(100):
        t = np.exp(log_t)
        current = tail(t, freedom)
        density = _factor(freedom) / np.sqrt(freedom) * np.exp(-(freedom + 1) / 2 * np.log1p(t**2 / freedom))
        step = (np.log(current) - log_p) * current / (density * t)
        log_t = log_t + np.clip(step, -1.0, 1.0)
        if np.all(np.abs(step) < 1e-10):
            break
    root: Floats = np.exp(log_t)
    return root


@cache
def critical(p: float, freedom: float) -> float:
    """`quantile` for scalars, cached."""
    return float(quantile(p, freedom))


def _guess(p: Floats, freedom: Floats) -> Floats:
    """The quantile to a few percent: the normal quantile (Abramowitz and Stegun, 26.2.23), converted to that of t
    (Wallace, 1959, Annals of Mathematical Statistics 30(4))."""
    w = np.sqrt(-2 * np.log(p / 2))
    z = w - (2.515517 + 0.802853 * w + 0.010328 * w**2) / (1 + 1.432788 * w + 0.189269 * w**2 + 0.001308 * w**3)
    stretched = np.maximum(z, 1e-6) * (8 * freedom + 3) / (8 * freedom + 1)
    guess: Floats = np.sqrt(freedom * np.expm1(np.minimum(stretched**2 / freedom, 300.0)))
    return guess


_log_gamma = np.vectorize(math.lgamma, otypes=[float])


def _factor(freedom: Floats) -> Floats:
    """The normalization constant of the density over the angle from 0 to pi / 2."""
    factor: Floats = 2 * np.exp(_log_gamma((freedom + 1) / 2) - _log_gamma(freedom / 2)) / math.sqrt(math.pi)
    return factor


@cache
def _quadrature() -> tuple[Floats, Floats]:
    """Nodes and weights of Gauss-Legendre quadrature on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    return (nodes + 1) / 2, weights / 2
