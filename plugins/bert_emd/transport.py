"""Optimal transport between the layers of student and teacher, and the weights of layers after it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_WEIGHT = 1e-6
"""The least weight of a layer after an update. A layer of weight 0 would transport nothing and so have no cost."""


def plan(distances: Floats, rows: Floats, columns: Floats) -> Floats:
    """The transport F >= 0 that minimizes sum F_ij d_ij, with row sums `rows` and column sums `columns`.

    Solved exactly, as a linear program. Not finite distances give the plan without costs, so that the loss becomes not
    finite, too, which the host reports.

    Args:
        distances: d, at least 0, [R, C].
        rows: [R], which sum to 1.
        columns: [C], which sum to 1.
    """
    from scipy.optimize import linprog  # slow to import

    largest = distances.max()
    if not np.isfinite(distances).all() or largest == 0:
        return np.outer(rows, columns)
    of_rows = np.kron(np.eye(len(rows)), np.ones(len(columns)))
    of_columns = np.kron(np.ones(len(rows)), np.eye(len(columns)))
    solved = linprog(
        distances.flatten() / largest,  # the solver's tolerances are absolute
        A_eq=np.concatenate([of_rows, of_columns]),
        b_eq=np.concatenate([rows, columns]),
        method="highs",
    )
    if solved.x is None:
        raise RuntimeError(f"the transport between layers has no solution: {solved.message}")
    transport: Floats = solved.x.reshape(distances.shape)
    return transport


def updated(weights: Floats, costs: Floats, normalize: Literal["sum", "softmax"], temperature: float) -> Floats:
    """The weights after a step with `costs` sum_j F_ij d_ij of each layer (cost attention).

    A layer's unit cost is c_i = cost / weight; its new weight is proportional to r_i = (sum_k c_k) / c_i, or with
    `softmax` to exp(r_i / temperature). If a unit cost is 0 or not finite, r has no meaning and the weights stay.
    """
    unit = costs / weights
    if not (np.isfinite(unit).all() and (unit > 0).all()):
        return weights
    ratios = unit.sum() / unit
    if normalize == "softmax":
        ratios = np.exp((ratios - ratios.max()) / temperature)
    limited: Floats = np.maximum(ratios / ratios.sum(), LEAST_WEIGHT)
    total: float = limited.sum()
    return limited / total
