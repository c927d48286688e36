"""Normal equations of least squares, added up batch by batch, with a ridge and a residual by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.affine.maps import FloatArray

RIDGES = (1e-6, 1e-4, 1e-2, 1e-1)
"""Ridges that are tried, relative to the mean of the diagonal of the normal matrix."""
MANY = 1500
"""With more unknowns than this one ridge is taken for all."""
Array = npt.NDArray[Any]


@dataclass
class Sums:
    """Normal equations of y ≈ f w, f (rows, features) with a column of ones appended."""

    gram: FloatArray
    cross: FloatArray
    squares: FloatArray
    total: FloatArray
    rows: int = 0

    @classmethod
    def of(cls, features: int, outputs: int) -> Sums:
        """Nothing yet."""
        width = features + 1
        return cls(np.zeros((width, width)), np.zeros((width, outputs)), np.zeros(outputs), np.zeros(outputs))

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.gram + other.gram,
            self.cross + other.cross,
            self.squares + other.squares,
            self.total + other.total,
            self.rows + other.rows,
        )

    def on(self, features: Array) -> Sums:
        """The same rows with some features only."""
        gram = self.gram[np.ix_(features, features)]
        return Sums(gram, self.cross[features], self.squares, self.total, self.rows)

    def take(self, f: Array, y: Array) -> None:
        """Add rows: features f and targets y."""
        f = np.concatenate([f, np.ones((len(f), 1), f.dtype)], axis=1)
        self.gram += (f.T @ f).astype(np.float64)
        self.cross += (f.T @ y).astype(np.float64)
        self.squares += np.square(y, dtype=np.float64).sum(axis=0)
        self.total += y.sum(axis=0, dtype=np.float64)
        self.rows += len(f)

    def solve(self, ridge: float) -> FloatArray:
        """Weights (features + 1, outputs), the bias last."""
        width = len(self.gram)
        diagonal = np.full(width, ridge * np.trace(self.gram) / width)
        diagonal[-1] = 0.0
        return _solve(self.gram + np.diag(diagonal), self.cross)

    def error(self, weights: FloatArray) -> float:
        """Sum of squared errors of `weights` on these rows."""
        error = self.squares - 2 * (weights * self.cross).sum(axis=0) + (weights * (self.gram @ weights)).sum(axis=0)
        return float(error.clip(0).sum())

    def spread(self) -> float:
        """Sum of squared distances of the targets from their means."""
        return float((self.squares - np.square(self.total) / max(1, self.rows)).sum())


class Normal:
    """Two halves of the samples, so that the ridge and the residual come from samples a fit did not see."""

    def __init__(self, features: int, outputs: int) -> None:
        self.halves = (Sums.of(features, outputs), Sums.of(features, outputs))

    def add(self, f: Array, y: Array, samples: Array) -> None:
        """Take rows; `samples` (rows,) says which sample each is of."""
        for half, sums in enumerate(self.halves):
            chosen = samples % 2 == half
            if chosen.any():
                sums.take(f[chosen], y[chosen])

    def on(self, features: Array) -> Normal:
        """The same rows with some features only; `features` ends with the column of ones."""
        fewer = Normal(0, 0)
        fewer.halves = (self.halves[0].on(features), self.halves[1].on(features))
        return fewer

    def solve(self) -> tuple[FloatArray, FloatArray, float]:
        """Weights (features, outputs), bias (outputs,) and the residual by two-fold cross-validation."""
        first, second = self.halves
        both = first + second
        ridges = RIDGES if len(both.gram) <= MANY else RIDGES[1:2]
        if not (first.rows and second.rows):
            weights = both.solve(RIDGES[0])
            return weights[:-1], weights[-1], both.error(weights) / max(both.spread(), 1e-30)
        errors = [second.error(first.solve(r)) + first.error(second.solve(r)) for r in ridges]
        best = int(np.argmin(errors))
        weights = both.solve(ridges[best])
        return weights[:-1], weights[-1], errors[best] / max(both.spread(), 1e-30)


def _solve(gram: FloatArray, cross: FloatArray) -> FloatArray:
    """The solution of the normal equations; of least length where the ridge does not make them regular."""
    try:
        return np.asarray(np.linalg.solve(gram, cross), np.float64)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(gram, cross, rcond=None)[0], np.float64)
