"""Least squares for what a rectifier lets through.

Where the wanted pre-activation lies in a flat piece of the rectifier behind it (below 0 for ReLU), every value in that
piece is as good. The squared error of the fit counts there only as far as it leaves the piece; this is convex, and each
step below minimises a quadratic that lies above it and touches it at the weights before (majorise, minimise).
Source: Hunter and Lange, A Tutorial on MM Algorithms (2004); ALGORITHMS.md §8 for the plain fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.affine.maps import FloatArray

Array = npt.NDArray[Any]
Bounds = tuple[float, float]
"""(low, high): the rectifier is flat up to `low` and from `high` on; infinite where it has no such piece."""
KEPT_FLOATS = 1 << 23
"""Numbers that are kept of the rows (32 MiB), however many there are."""
MOST_ROWS = 20_000
FEWEST_ROWS = 4
"""Rows per feature below which nothing is refined."""
STEPS = 6


@dataclass
class OneSided:
    """A uniform sample of the rows of a regression, and the refinement on them.

    Attributes:
        features, outputs: of the regression, the column of ones included.
        bounds: of the rectifier behind the target.
        rng: picks the rows.
    """

    features: int
    outputs: int
    bounds: Bounds
    rng: np.random.Generator
    _rows: list[Array] = field(init=False)
    _seen: int = 0

    def __post_init__(self) -> None:
        room = max(1, min(MOST_ROWS, KEPT_FLOATS // (self.features + 2 * self.outputs)))
        self._rows = [np.zeros((room, width), np.float32) for width in (self.features, self.outputs, self.outputs)]

    def take(self, f: Array, y: Array, beside: Array | None) -> None:
        """Add rows: features, targets, and what is added to them before the rectifier.

        Source: Vitter, Random Sampling with a Reservoir (1985), algorithm R.
        """
        room = len(self._rows[0])
        at = self._seen + np.arange(len(f))
        slots = np.where(at < room, at, self.rng.integers(0, at + 1))
        chosen = slots < room
        self._rows[0][slots[chosen]] = f[chosen]
        self._rows[1][slots[chosen]] = y[chosen]
        self._rows[2][slots[chosen]] = 0.0 if beside is None else beside[chosen]
        self._seen += len(f)

    def on(self, features: Array) -> OneSided:
        """The same rows with some features only."""
        fewer = OneSided(len(features), self.outputs, self.bounds, self.rng)
        fewer._rows = [self._rows[0][:, features], *self._rows[1:]]
        fewer._seen = self._seen
        return fewer

    def refined(self, weights: FloatArray, cross: FloatArray, solve: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """The weights after some steps from those of plain least squares.

        Args:
            weights: (features, outputs).
            cross: (features, outputs), of all rows.
            solve: cross → weights.
        """
        count = min(self._seen, len(self._rows[0]))
        if count < FEWEST_ROWS * self.features:
            return weights
        f, y, beside = (rows[:count] for rows in self._rows)
        low, high = self.bounds[0] - beside, self.bounds[1] - beside
        share = self._seen / count
        for _ in range(STEPS):
            made = f @ weights.astype(np.float32)
            wanted = np.where(y <= low, np.minimum(made, low), np.where(y >= high, np.maximum(made, high), y))
            weights = solve(cross + share * (f.T @ (wanted - y)).astype(np.float64))
        return weights
