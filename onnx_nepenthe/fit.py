"""Least-squares maps: what a part of a network does, as well as one affine operator can do it.

The normal equations are added up batch by batch, so memory does not grow with the number of samples.
Source: ALGORITHMS.md §8 (lines instead of identities, whole blocks by one convolution).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.affine.maps import AffineMap, Conv, Dense, FloatArray, Ints, PerChannel

RIDGES = (1e-6, 1e-4, 1e-2, 1e-1)
"""Ridges that are tried, relative to the mean of the diagonal of the normal matrix."""
MANY = 1500
"""With more unknowns than this one ridge is taken for all."""
Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Fitting:
    """A fitted map.

    Attributes:
        core: the map.
        residual: mean squared error over the variance of the target, by cross-validation; 1 - R².
    """

    core: AffineMap
    residual: float


class Fitter(Protocol):
    """Adds up what a fit needs."""

    def add(self, x: Array, y: Array) -> None:
        """Take one batch: values of the source and of the target."""

    def solve(self) -> Fitting:
        """The best map for all batches so far."""


@dataclass
class _Sums:
    """Normal equations of y ≈ f w, f (rows, features) with a column of ones appended."""

    gram: FloatArray
    cross: FloatArray
    squares: FloatArray
    total: FloatArray
    rows: int = 0

    @classmethod
    def of(cls, features: int, outputs: int) -> _Sums:
        width = features + 1
        return cls(np.zeros((width, width)), np.zeros((width, outputs)), np.zeros(outputs), np.zeros(outputs))

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.gram + other.gram,
            self.cross + other.cross,
            self.squares + other.squares,
            self.total + other.total,
            self.rows + other.rows,
        )

    def take(self, f: Array, y: Array) -> None:
        f = np.concatenate([f, np.ones((len(f), 1), f.dtype)], axis=1)
        self.gram += (f.T @ f).astype(np.float64)
        self.cross += (f.T @ y).astype(np.float64)
        self.squares += np.square(y, dtype=np.float64).sum(axis=0)
        self.total += y.sum(axis=0, dtype=np.float64)
        self.rows += len(f)

    def solve(self, ridge: float) -> FloatArray:
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


class _Normal:
    """Two halves of the samples, so that the ridge and the residual come from samples a fit did not see."""

    def __init__(self, features: int, outputs: int) -> None:
        self.halves = (_Sums.of(features, outputs), _Sums.of(features, outputs))

    def add(self, f: Array, y: Array, samples: Array) -> None:
        """Take rows; `samples` (rows,) says which sample each is of."""
        for half, sums in enumerate(self.halves):
            chosen = samples % 2 == half
            if chosen.any():
                sums.take(f[chosen], y[chosen])

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


@dataclass
class ConvFitter:
    """A convolution from (n, in, *space) to (n, out, *space / stride).

    Attributes:
        inputs, outputs: channels.
        kernel: taps per spatial axis, odd; padded to keep the size.
        strides: per spatial axis.
        rng: picks the positions that are used of each batch.
        positions: at most so many of a batch.
    """

    inputs: int
    outputs: int
    kernel: Ints
    strides: Ints
    rng: np.random.Generator
    positions: int = 2048
    _normal: _Normal = field(init=False)

    def __post_init__(self) -> None:
        self._normal = _Normal(self.inputs * prod(self.kernel), self.outputs)

    def add(self, x: Array, y: Array) -> None:
        """Take one batch: x (n, in, *space), y (n, out, *smaller space)."""
        patches = windows(x, self.kernel, self.strides)
        count = y.shape[0] * prod(y.shape[2:])
        chosen = self.rng.permutation(count)[: self.positions]
        at = np.unravel_index(chosen, (y.shape[0], *y.shape[2:]))
        index: Any = (at[0], slice(None), *at[1:])
        features = patches[index].reshape(len(chosen), -1)
        self._normal.add(np.ascontiguousarray(features, dtype=np.float32), y[index].astype(np.float32), at[0])

    def solve(self) -> Fitting:
        """The convolution, with zero padding at the edge as in training."""
        weights, bias, residual = self._normal.solve()
        weight = weights.T.reshape(self.outputs, self.inputs, *self.kernel)
        half = tuple(k // 2 for k in self.kernel)
        ones = (1,) * len(self.kernel)
        return Fitting(Conv(weight, bias, self.strides, ones, half, half), residual)


def windows(x: Array, kernel: Ints, strides: Ints) -> Array:
    """A view (n, channels, *positions, *kernel) of `x` (n, channels, *space), zero-padded by kernel // 2."""
    pads = [(0, 0), (0, 0), *((k // 2, k // 2) for k in kernel)]
    axes = tuple(range(2, x.ndim))
    view = np.lib.stride_tricks.sliding_window_view(np.pad(x, pads), kernel, axis=axes)
    step: Any = (slice(None), slice(None), *(slice(None, None, s) for s in strides))
    strided: Array = view[step]
    return strided


@dataclass
class DenseFitter:
    """A matrix along the last axis, from (…, in) to (…, out)."""

    inputs: int
    outputs: int
    axis: int
    rng: np.random.Generator
    rows: int = 8192
    _normal: _Normal = field(init=False)

    def __post_init__(self) -> None:
        self._normal = _Normal(self.inputs, self.outputs)

    def add(self, x: Array, y: Array) -> None:
        """Take one batch: x (…, in), y (…, out)."""
        samples = np.repeat(np.arange(len(x)), prod(x.shape[1:-1]))
        x, y = x.reshape(-1, self.inputs), y.reshape(-1, self.outputs)
        chosen = self.rng.permutation(len(x))[: self.rows]
        self._normal.add(x[chosen].astype(np.float32), y[chosen].astype(np.float32), samples[chosen])

    def solve(self) -> Fitting:
        """The matrix."""
        weights, bias, residual = self._normal.solve()
        return Fitting(Dense(self.axis, weights.T.copy(), bias), residual)


@dataclass
class LineFitter:
    """A line per channel, a = cov(z, y) / var(z) and c = mean(y) - a mean(z): ALGORITHMS.md §8."""

    channels: int
    axis: int
    _sums: FloatArray = field(init=False)
    _count: int = 0

    def __post_init__(self) -> None:
        self._sums = np.zeros((5, self.channels))

    def add(self, x: Array, y: Array) -> None:
        """Take one batch: z and y of one shape, channels on `axis`."""
        z, y = (np.moveaxis(a, self.axis, -1).reshape(-1, self.channels).astype(np.float64) for a in (x, y))
        self._sums += np.stack([z.sum(0), y.sum(0), (z * z).sum(0), (z * y).sum(0), (y * y).sum(0)])
        self._count += len(z)

    def solve(self) -> Fitting:
        """The lines; a constant z gives a constant y."""
        n = max(1, self._count)
        z, y, zz, zy, yy = self._sums / n
        variance, covariance, spread = zz - z * z, zy - z * y, yy - y * y
        slope = np.divide(covariance, variance, out=np.zeros_like(z), where=variance > 1e-12 * (zz + 1e-30))
        error = float((spread - slope * covariance).clip(0).sum() / max(spread.sum(), 1e-30))
        return Fitting(PerChannel(self.axis, slope, y - slope * z), error)


Maker = Callable[[np.random.Generator], Fitter]
