"""Normal equations of least squares, added up batch by batch, with a ridge and a residual by cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.affine.maps import FloatArray
from onnx_nepenthe.onesided import OneSided

RIDGES = (1e-6, 1e-4, 1e-2, 1e-1)
"""Ridges that are tried, relative to the mean of the diagonal of the normal matrix."""
TOWARDS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""The same for weights that are known and only to be mended: the largest leaves them as they are."""
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
        """Add rows: features f, the last of them 1, and targets y."""
        self.gram += (f.T @ f).astype(np.float64)
        self.cross += (f.T @ y).astype(np.float64)
        self.squares += np.square(y, dtype=np.float64).sum(axis=0)
        self.total += y.sum(axis=0, dtype=np.float64)
        self.rows += len(f)

    def solve(self, ridge: float, prior: FloatArray | None = None) -> FloatArray:
        """Weights (features + 1, outputs), the bias last; drawn to `prior`, to 0 without."""
        return self.solver(ridge, prior)(self.cross)

    def solver(self, ridge: float, prior: FloatArray | None = None) -> Callable[[FloatArray], FloatArray]:
        """What makes weights (features + 1, outputs) of a right side; the bias is drawn nowhere."""
        width = len(self.gram)
        diagonal = np.full(width, ridge * np.trace(self.gram) / width)
        diagonal[-1] = 0.0
        gram = self.gram + np.diag(diagonal)
        pull = 0.0 if prior is None else diagonal[:, None] * prior
        return lambda cross: _solved(gram, cross + pull)

    def error(self, weights: FloatArray) -> float:
        """Sum of squared errors of `weights` on these rows."""
        error = self.squares - 2 * (weights * self.cross).sum(axis=0) + (weights * (self.gram @ weights)).sum(axis=0)
        return float(error.clip(0).sum())

    def spread(self) -> float:
        """Sum of squared distances of the targets from their means."""
        return float((self.squares - np.square(self.total) / max(1, self.rows)).sum())


class Normal:
    """Two halves of the samples, so that the ridge and the residual come from samples a fit did not see.

    Args:
        features, outputs: of the regression.
        onesided: refines the weights where a rectifier follows; None to leave them.
        towards: ridges that are tried where weights are known; one alone is taken as it is.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        onesided: OneSided | None = None,
        towards: tuple[float, ...] = TOWARDS,
    ) -> None:
        self.halves = (Sums.of(features, outputs), Sums.of(features, outputs))
        self.onesided = onesided
        self.towards = towards

    @property
    def both(self) -> Sums:
        """Of all samples."""
        return self.halves[0] + self.halves[1]

    def add(self, f: Array, y: Array, samples: Array, beside: Array | None = None) -> None:
        """Take rows.

        Args:
            f: (rows, features).
            y: (rows, outputs), what is wanted, less `beside`.
            samples: (rows,), which sample each is of.
            beside: (rows, outputs), what is added before the rectifier; None for nothing.
        """
        f = np.concatenate([f, np.ones((len(f), 1), f.dtype)], axis=1)
        for half, sums in enumerate(self.halves):
            chosen = samples % 2 == half
            if chosen.any():
                sums.take(f[chosen], y[chosen])
        if self.onesided is not None:
            self.onesided.take(f, y, beside)

    def on(self, features: Array) -> Normal:
        """The same rows with some features only; `features` ends with the column of ones."""
        fewer = Normal(0, 0, None if self.onesided is None else self.onesided.on(features), self.towards)
        fewer.halves = (self.halves[0].on(features), self.halves[1].on(features))
        return fewer

    def solve(self, prior: FloatArray | None = None) -> tuple[FloatArray, FloatArray, float]:
        """Weights (features, outputs), bias (outputs,) and the residual by two-fold cross-validation.

        Args:
            prior: (features + 1, outputs), weights and then biases that the weights are to stay near to.
        """
        first, second = self.halves
        both = self.both
        ridges: tuple[float, ...] = RIDGES if prior is None else self.towards
        is_given = len(ridges) == 1
        ridges = ridges if is_given or len(both.gram) <= MANY else ridges[1:2]
        if is_given or not (first.rows and second.rows):
            weights = both.solve(ridges[0], prior)
            return weights[:-1], weights[-1], both.error(weights) / max(both.spread(), 1e-30)
        errors = [second.error(first.solve(r, prior)) + first.error(second.solve(r, prior)) for r in ridges]
        best = int(np.argmin(errors))
        solve = both.solver(ridges[best], prior)
        weights = solve(both.cross)
        if self.onesided is not None:
            weights = self.onesided.refined(weights, both.cross, solve)
        return weights[:-1], weights[-1], errors[best] / max(both.spread(), 1e-30)


def _solved(gram: FloatArray, cross: FloatArray) -> FloatArray:
    """The solution of the normal equations; of least length where the ridge does not make them regular."""
    try:
        return np.asarray(np.linalg.solve(gram, cross), np.float64)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(gram, cross, rcond=None)[0], np.float64)
