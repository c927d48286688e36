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

RIDGE = 1e-5
"""Ridge relative to the mean of the diagonal of the normal matrix."""
Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Fitting:
    """A fitted map.

    Attributes:
        core: the map.
        residual: mean squared error over the variance of the target, on the fitting data; 1 - R².
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
class _Normal:
    """Normal equations of y ≈ f w, f (rows, features) with a column of ones appended."""

    gram: FloatArray
    cross: FloatArray
    squares: FloatArray
    total: FloatArray
    rows: int = 0

    @classmethod
    def of(cls, features: int, outputs: int) -> _Normal:
        width = features + 1
        return cls(np.zeros((width, width)), np.zeros((width, outputs)), np.zeros(outputs), np.zeros(outputs))

    def add(self, f: Array, y: Array) -> None:
        f = np.concatenate([f, np.ones((len(f), 1), f.dtype)], axis=1)
        self.gram += (f.T @ f).astype(np.float64)
        self.cross += (f.T @ y).astype(np.float64)
        self.squares += np.square(y, dtype=np.float64).sum(axis=0)
        self.total += y.sum(axis=0, dtype=np.float64)
        self.rows += len(f)

    def solve(self) -> tuple[FloatArray, FloatArray, float]:
        """Weights (features, outputs), bias (outputs,) and the residual."""
        width = len(self.gram)
        ridge = np.full(width, RIDGE * np.trace(self.gram) / width)
        ridge[-1] = 0.0
        weights = np.asarray(np.linalg.lstsq(self.gram + np.diag(ridge), self.cross, rcond=None)[0], np.float64)
        error = self.squares - 2 * (weights * self.cross).sum(axis=0) + (weights * (self.gram @ weights)).sum(axis=0)
        spread = self.squares - np.square(self.total) / max(1, self.rows)
        return weights[:-1], weights[-1], float(max(0.0, error.sum()) / max(spread.sum(), 1e-30))


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
    positions: int = 4096
    _normal: _Normal = field(init=False)

    def __post_init__(self) -> None:
        self._normal = _Normal.of(self.inputs * prod(self.kernel), self.outputs)

    def add(self, x: Array, y: Array) -> None:
        """Take one batch: x (n, in, *space), y (n, out, *smaller space)."""
        patches = windows(x, self.kernel, self.strides)
        count = y.shape[0] * prod(y.shape[2:])
        chosen = self.rng.permutation(count)[: self.positions]
        at = np.unravel_index(chosen, (y.shape[0], *y.shape[2:]))
        index: Any = (at[0], slice(None), *at[1:])
        features = patches[index].reshape(len(chosen), -1)
        self._normal.add(np.ascontiguousarray(features, dtype=np.float32), y[index].astype(np.float32))

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
        self._normal = _Normal.of(self.inputs, self.outputs)

    def add(self, x: Array, y: Array) -> None:
        """Take one batch: x (…, in), y (…, out)."""
        x, y = x.reshape(-1, self.inputs), y.reshape(-1, self.outputs)
        chosen = self.rng.permutation(len(x))[: self.rows]
        self._normal.add(x[chosen].astype(np.float32), y[chosen].astype(np.float32))

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
