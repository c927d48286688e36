"""Sums that give the least-squares line through (z, y), channel by channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_nepenthe.regimes import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class LineSums:
    """Sufficient statistics of y ≈ slope · z + intercept; all (channels,).

    Attributes:
        n: int64, observations.
        z, zz, y, yy, zy: float64, sums of z, z², y, y² and zy.
    """

    n: IntArray
    z: FloatArray
    zz: FloatArray
    y: FloatArray
    yy: FloatArray
    zy: FloatArray

    @classmethod
    def empty(cls, channels: int) -> LineSums:
        """Nothing observed yet."""
        return cls(np.zeros(channels, np.int64), *np.zeros((5, channels)))

    def __add__(self, other: LineSums) -> LineSums:
        """Sums over both sets of observations, exact up to the rounding of float64.

        Raises:
            ValueError: other channels.
        """
        if self.n.shape != other.n.shape:
            raise ValueError(f"cannot add sums of {len(self.n)} and {len(other.n)} channels")
        return LineSums(
            self.n + other.n,
            self.z + other.z,
            self.zz + other.zz,
            self.y + other.y,
            self.yy + other.yy,
            self.zy + other.zy,
        )

    def line(self) -> tuple[FloatArray, FloatArray]:
        """Slope and intercept, each float64 (channels,): a = cov(z, y) / var(z), c = mean(y) - a mean(z).

        A channel whose z never changed gets slope 0 and its mean y; one that was never seen gets 0 and 0.
        Source: ALGORITHMS.md §8.

        >>> LineSums(*(np.array([v]) for v in (3, 3.0, 5.0, 9.0, 35.0, 13.0))).line()
        (array([2.]), array([1.]))
        """
        n = np.maximum(self.n, 1)
        variance, covariance = self.zz - self.z * self.z / n, self.zy - self.z * self.y / n
        varies = variance > self._noise(self.zz)
        slope = np.divide(covariance, variance, out=np.zeros_like(variance), where=varies)
        return slope, (self.y - slope * self.z) / n

    def residual(self) -> FloatArray:
        """float64 (channels,): mean squared error of the line over the variance of y, 1 - R²; 0 where y is constant."""
        n = np.maximum(self.n, 1)
        slope, _ = self.line()
        variance = self.yy - self.y * self.y / n
        left = variance - slope * (self.zy - self.z * self.y / n)
        varies = variance > self._noise(self.yy)
        share = np.divide(left, variance, out=np.zeros_like(left), where=varies)
        return np.clip(share, 0.0, 1.0)

    def _noise(self, squares: FloatArray) -> FloatArray:
        """Below it a variance may be rounding alone: the parts were added in float32 within a sample."""
        return squares * np.float64(np.finfo(np.float32).eps)
