"""A budget of weights shared out by water-filling: nobody gets more than there is room for.

Source: ALGORITHMS.md §2 (EGP, arXiv 2308.06619), §3 (NEPENTHE, arXiv 2404.16890).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_nepenthe.prune.records import BoolArray
from onnx_nepenthe.regimes import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Allotment:
    """Who gets how much of a budget.

    Attributes:
        amounts: int64 (layers,), weights to prune.
        full: bool (layers,), whether a layer would have got more than it has room for.
        unplaced: what nobody had room for.
    """

    amounts: IntArray
    full: BoolArray
    unplaced: float = 0.0


def ratios(importance: FloatArray) -> FloatArray:
    """R, float64 like `importance`: the sum over each; 0 where it is 0.

    >>> ratios(np.array([1.0, 3.0, 0.0])).tolist()
    [4.0, 1.3333333333333333, 0.0]
    """
    found = np.zeros_like(importance)
    with np.errstate(over="ignore"):
        np.divide(importance.sum(), importance, out=found, where=importance > 0)
    return np.minimum(found, np.finfo(np.float64).max)


def softmax(values: FloatArray) -> FloatArray:
    """Shares that add up to 1; the largest exponent is 0, so that nothing overflows.

    >>> softmax(np.array([1000.0, 1000.0])).tolist()
    [0.5, 0.5]
    """
    powers = np.exp(values - values.max())
    shares: FloatArray = powers / powers.sum()
    return shares


def allot(budget: float, importance: FloatArray, room: IntArray) -> Allotment:
    """Share `budget` out by softmax(ΣE / E): the less important a layer, the more of it goes.

    Layers that would get more than they have room for get what they have; that is taken off the budget and their
    importance off the sum, and the rest is shared out again among the others.

    Args:
        budget: weights.
        importance: float64 (layers,), E of EGP or I of NEPENTHE; a layer with 0 gets nothing.
        room: int64 (layers,), weights that may go at most; a layer with 0 gets nothing.
    """
    amounts, full = np.zeros(len(room)), np.zeros(len(room), bool)
    active = (importance > 0) & (room > 0)
    left = float(budget)
    while active.any():
        wanted = np.zeros(len(room))
        wanted[active] = left * softmax(ratios(importance[active]))
        over = active & (wanted > room)
        if not over.any():
            return Allotment((amounts + wanted).astype(np.int64), full)
        amounts[over] = room[over]
        left -= float(room[over].sum())
        full |= over
        active &= ~over
    return Allotment(amounts.astype(np.int64), full, left)
