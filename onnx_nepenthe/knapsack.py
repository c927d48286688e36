"""Which substitutes to make: the most time saved for the price, or the least price for the time.

Substitutes that share an operator exclude each other, so this is a shortest path over materialisation
points with one resource; stated as a 0/1 program and solved by HiGHS through scipy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from onnx_nepenthe.substitutes import Substitute

SMALLEST_PRICE = 0.01
"""Points that every substitute costs at least, so that useless ones are not made."""


def most_gain(
    substitutes: Sequence[Substitute], gains: Sequence[float], drops: Sequence[float], budget: float
) -> tuple[int, ...]:
    """Positions of the substitutes that save most within `budget`.

    Args:
        substitutes: to choose from.
        gains: milliseconds each saves.
        drops: points each costs.
        budget: points.
    """
    prices = np.maximum(np.asarray(drops, np.float64), SMALLEST_PRICE)
    return _solve(substitutes, -np.asarray(gains, np.float64), prices, budget)


def least_drop(
    substitutes: Sequence[Substitute], gains: Sequence[float], drops: Sequence[float], wanted: float
) -> tuple[int, ...]:
    """Positions of the substitutes that save at least `wanted` milliseconds at the least price; () when none do."""
    prices = np.maximum(np.asarray(drops, np.float64), SMALLEST_PRICE)
    return _solve(substitutes, prices, -np.asarray(gains, np.float64), -wanted)


def _solve(
    substitutes: Sequence[Substitute], cost: np.ndarray[tuple[int], np.dtype[np.float64]], row: object, most: float
) -> tuple[int, ...]:
    if not substitutes:
        return ()
    count = len(substitutes)
    constraints = [LinearConstraint(np.asarray(row, np.float64)[None], -np.inf, most)]
    operators = sorted({key for substitute in substitutes for key in substitute.ops})
    shared = np.array([[key in s.ops for s in substitutes] for key in operators], np.float64)
    constraints.append(LinearConstraint(shared[shared.sum(axis=1) > 1], -np.inf, 1.0) if count > 1 else constraints[0])
    found = milp(cost, constraints=constraints, integrality=np.ones(count, np.int64), bounds=Bounds(0, 1))
    return tuple(np.flatnonzero(found.x > 0.5).tolist()) if found.x is not None else ()
