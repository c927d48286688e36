"""Which groups of features a regression can do without: one after the other goes, the others take over its part.

Exact for least squares: without the group g the error grows by w_g' (H_gg)^-1 w_g, with H the inverse of the normal
matrix and w the weights, and both follow from what they were before.
Source: Hassibi and Stork, Second Order Derivatives for Network Pruning (1993); groups as in Frantar and Alistarh,
Optimal Brain Compression (2022).
"""

from __future__ import annotations

import numpy as np

from onnx_nepenthe.affine.maps import FloatArray, Ints
from onnx_nepenthe.normal import Sums

RIDGE = 1e-4
"""Relative to the mean of the diagonal of the normal matrix."""
LARGEST = 2400
"""More features take too long."""


def kept_groups(sums: Sums, taps: int, keep: int) -> Ints:
    """The groups of `taps` features each that stay, in order.

    Args:
        sums: of the regression; the column of ones comes last and always stays.
        taps: features of a group.
        keep: how many groups stay.
    """
    ridge = np.full(len(sums.gram), RIDGE * np.trace(sums.gram) / len(sums.gram))
    inverse = np.asarray(np.linalg.inv(sums.gram + np.diag(ridge)), np.float64)
    weights = np.asarray(inverse @ sums.cross, np.float64)
    alive = list(range((len(sums.gram) - 1) // taps))
    while len(alive) > keep:
        at = np.array(alive)[:, None] * taps + np.arange(taps)
        blocks, parts = inverse[at[:, :, None], at[:, None, :]], weights[at]
        losses = (parts * np.linalg.solve(blocks, parts)).sum(axis=(1, 2))
        gone = int(np.argmin(losses))
        weights, inverse = _without(inverse, weights, tuple(at[gone].tolist()))
        alive.pop(gone)
    return tuple(alive)


def _without(inverse: FloatArray, weights: FloatArray, at: Ints) -> tuple[FloatArray, FloatArray]:
    """(weights, inverse) of the regression without these features, whose rows and columns become 0."""
    rows = list(at)
    taken = inverse[:, rows] @ np.linalg.inv(inverse[np.ix_(rows, rows)])
    return weights - taken @ weights[rows], inverse - taken @ inverse[rows]
