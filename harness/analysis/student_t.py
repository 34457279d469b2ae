"""Student's t distribution, vectorized, with full relative precision far into the tails.

A Holm-corrected p-value may be very small; ``1 - P(|T| < t)`` would round it to 0.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

MOST = 1e5
"""Degrees of freedom; with more, t is the normal distribution to 5 digits."""

SMALLEST = 1e-30
"""No p-value is smaller, so that none is 0: so far out the model is less certain than the arithmetic."""


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
    found: Floats = _factor(freedom) * width * ((np.sin(angles) ** (freedom[..., None] - 1) * 2 * nodes) @ weights)
    return np.minimum(found, 1.0)


def quantile(p: ArrayLike, freedom: ArrayLike) -> Floats:
    """The t with ``tail(t, freedom) = p``, for `SMALLEST` / 1e3 <= p < 1 and at least 1 degree of freedom.

    Newton's method for log p as a function of log t, which is concave, so that only a step from the left of the root
    overshoots; its length is bounded.
    """
    p, freedom = np.broadcast_arrays(np.asarray(p, dtype=float), np.minimum(np.asarray(freedom, dtype=float), MOST))
    wanted, log_t = np.log(p), np.log(_guess(p, freedom))
    for _ in range(100):
        t = np.exp(log_t)
        found = tail(t, freedom)
        density = _factor(freedom) / np.sqrt(freedom) * np.exp(-(freedom + 1) / 2 * np.log1p(t**2 / freedom))
        step = (np.log(found) - wanted) * found / (density * t)
        log_t = log_t + np.clip(step, -1.0, 1.0)
        if np.all(np.abs(step) < 1e-10):
            break
    root: Floats = np.exp(log_t)
    return root


@cache
def critical(p: float, freedom: float) -> float:
    """`quantile` of single numbers."""
    return float(quantile(p, freedom))


def _guess(p: Floats, freedom: Floats) -> Floats:
    """The quantile to some percent: of the normal distribution (Abramowitz and Stegun, 26.2.23), and from it of t
    (Wallace, 1959, Annals of Mathematical Statistics 30(4))."""
    w = np.sqrt(-2 * np.log(p / 2))
    z = w - (2.515517 + 0.802853 * w + 0.010328 * w**2) / (1 + 1.432788 * w + 0.189269 * w**2 + 0.001308 * w**3)
    stretched = np.maximum(z, 1e-6) * (8 * freedom + 3) / (8 * freedom + 1)
    guess: Floats = np.sqrt(freedom * np.expm1(np.minimum(stretched**2 / freedom, 300.0)))
    return guess


_log_gamma = np.vectorize(math.lgamma, otypes=[float])


def _factor(freedom: Floats) -> Floats:
    """What makes the density over the angle, from 0 to pi / 2, integrate to 1."""
    found: Floats = 2 * np.exp(_log_gamma((freedom + 1) / 2) - _log_gamma(freedom / 2)) / math.sqrt(math.pi)
    return found


@cache
def _quadrature() -> tuple[Floats, Floats]:
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    return (nodes + 1) / 2, weights / 2
