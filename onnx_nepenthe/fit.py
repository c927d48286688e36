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
from onnx_nepenthe.normal import Normal

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Fitting:
    """A fitted map.

    Attributes:
        core: the map.
        residual: mean squared error over the variance of the target, by cross-validation; 1 - R².
        kept: channels of the source that the map takes; all of them when empty.
    """

    core: AffineMap
    residual: float
    kept: Ints = ()


class Fitter(Protocol):
    """Adds up what a fit needs."""

    def add(self, x: Array, y: Array) -> None:
        """Take one batch: values of the source and of the target."""

    def solve(self) -> Fitting:
        """The best map for all batches so far."""


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
    _normal: Normal = field(init=False)

    def __post_init__(self) -> None:
        self._normal = Normal(self.inputs * prod(self.kernel), self.outputs)

    def add(self, x: Array, y: Array) -> None:
        """Take one batch: x (n, in, *space), y (n, out, *smaller space)."""
        patches = windows(x, self.kernel, self.strides)
        count = y.shape[0] * prod(y.shape[2:])
        chosen = self.rng.permutation(count)[: self.positions]
        at = np.unravel_index(chosen, (y.shape[0], *y.shape[2:]))
        index: Any = (at[0], slice(None), *at[1:])
        features = patches[index].reshape(len(chosen), -1)
        self._normal.add(np.ascontiguousarray(features, dtype=np.float32), y[index].astype(np.float32), at[0])

    def spreads(self) -> FloatArray:
        """Variance of each tap of each channel, (in * taps,)."""
        sums = self._normal.halves[0] + self._normal.halves[1]
        rows = max(1, sums.rows)
        return np.asarray(np.diag(sums.gram)[:-1] / rows - np.square(sums.gram[-1, :-1] / rows), np.float64)

    def solve(self) -> Fitting:
        """The convolution, with zero padding at the edge as in training."""
        return self._convolution(self._normal, self.inputs)

    def solve_on(self, kept: Ints) -> Fitting:
        """The convolution of these channels alone."""
        taps = prod(self.kernel)
        wanted = [at * taps + tap for at in kept for tap in range(taps)] + [self.inputs * taps]
        fitting = self._convolution(self._normal.on(np.array(wanted)), len(kept))
        return Fitting(fitting.core, fitting.residual, tuple(kept))

    def _convolution(self, normal: Normal, inputs: int) -> Fitting:
        weights, bias, residual = normal.solve()
        weight = weights.T.reshape(self.outputs, inputs, *self.kernel)
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
    _normal: Normal = field(init=False)

    def __post_init__(self) -> None:
        self._normal = Normal(self.inputs, self.outputs)

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
