"""A line per channel by least squares, and the identity, which needs no operator."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from onnx_nepenthe.affine.maps import FloatArray, PerChannel, identity
from onnx_nepenthe.fit import Array, Fitting


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

    @property
    def moments(self) -> FloatArray:
        """Means of z, y, z², zy and y² per channel, (5, channels)."""
        return np.asarray(self._sums / max(1, self._count), np.float64)

    def solve(self) -> Fitting:
        """The lines; a constant z gives a constant y."""
        z, y, zz, zy, yy = self.moments
        variance, covariance, spread = zz - z * z, zy - z * y, yy - y * y
        slope = np.divide(covariance, variance, out=np.zeros_like(z), where=variance > 1e-12 * (zz + 1e-30))
        error = float((spread - slope * covariance).clip(0).sum() / max(spread.sum(), 1e-30))
        return Fitting(PerChannel(self.axis, slope, y - slope * z), error)


@dataclass
class IdentityFitter:
    """The source as it is; how far that is from the target is measured.

    Attributes:
        channels, axis: of both.
    """

    channels: int
    axis: int
    _line: LineFitter = field(init=False)

    def __post_init__(self) -> None:
        self._line = LineFitter(self.channels, self.axis)

    def add(self, x: Array, y: Array) -> None:
        """Take one batch of one shape, channels on `axis`."""
        self._line.add(x, y)

    def solve(self) -> Fitting:
        """The identity."""
        _, y, zz, zy, yy = self._line.moments
        error = float((zz - 2 * zy + yy).clip(0).sum())
        return Fitting(identity(), error / max(float((yy - y * y).sum()), 1e-30))
