"""A depthwise convolution by least squares: one small system per channel."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from onnx_nepenthe.affine.maps import Conv, FloatArray, Ints
from onnx_nepenthe.fit import Array, Fitting, windows
from onnx_nepenthe.normal import RIDGES


@dataclass
class _Sums:
    """Normal equations of every channel: gram (channels, taps + 1, taps + 1), cross (channels, taps + 1)."""

    gram: FloatArray
    cross: FloatArray
    squares: FloatArray
    total: FloatArray
    rows: int = 0

    @classmethod
    def of(cls, channels: int, width: int) -> _Sums:
        """Nothing yet."""
        return cls(
            np.zeros((channels, width, width)), np.zeros((channels, width)), np.zeros(channels), np.zeros(channels)
        )

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.gram + other.gram,
            self.cross + other.cross,
            self.squares + other.squares,
            self.total + other.total,
            self.rows + other.rows,
        )

    def take(self, features: Array, y: Array) -> None:
        """Add rows: features (channels, rows, taps + 1), y (channels, rows)."""
        self.gram += np.matmul(features.transpose(0, 2, 1), features)
        self.cross += np.matmul(features.transpose(0, 2, 1), y[..., None])[..., 0]
        self.squares += np.square(y, dtype=np.float64).sum(axis=1)
        self.total += y.sum(axis=1, dtype=np.float64)
        self.rows += y.shape[1]

    def solve(self, ridge: float) -> FloatArray:
        """Weights (channels, taps + 1), the bias last."""
        width = self.gram.shape[1]
        scale = np.trace(self.gram, axis1=1, axis2=2) / width
        diagonal = np.eye(width) * (np.arange(width) < width - 1)
        # A channel that is always 0 has no system to speak of; anything solves it.
        floor = np.where(scale > 0, ridge * scale, 1.0)[:, None, None]
        gram = self.gram + floor * diagonal + 1e-12 * np.eye(width)
        return np.asarray(np.linalg.solve(gram, self.cross[..., None])[..., 0], np.float64)

    def error(self, weights: FloatArray) -> float:
        """Sum of squared errors of `weights` on these rows."""
        quadratic = (weights * np.matmul(self.gram, weights[..., None])[..., 0]).sum(axis=1)
        return float((self.squares - 2 * (weights * self.cross).sum(axis=1) + quadratic).clip(0).sum())

    def spread(self) -> float:
        """Sum of squared distances of the targets from their means."""
        return float((self.squares - np.square(self.total) / max(1, self.rows)).sum())


@dataclass
class DepthwiseFitter:
    """A convolution of each channel by itself, (n, channels, *space) to (n, channels, *space / stride).

    Attributes:
        channels: of source and target.
        kernel: taps per spatial axis, odd; padded to keep the size.
        strides: per spatial axis.
        rng: picks the positions that are used of each batch.
        positions: at most so many of a batch.
    """

    channels: int
    kernel: Ints
    strides: Ints
    rng: np.random.Generator
    positions: int = 2048
    _halves: tuple[_Sums, _Sums] = field(init=False)

    def __post_init__(self) -> None:
        width = prod(self.kernel) + 1
        self._halves = _Sums.of(self.channels, width), _Sums.of(self.channels, width)

    def add(self, x: Array, y: Array) -> None:
        """Take one batch: x (n, channels, *space), y (n, channels, *smaller space)."""
        patches = windows(x, self.kernel, self.strides)
        chosen = self.rng.permutation(y.shape[0] * prod(y.shape[2:]))[: self.positions]
        at = np.unravel_index(chosen, (y.shape[0], *y.shape[2:]))
        index: Any = (at[0], slice(None), *at[1:])
        taps = patches[index].reshape(len(chosen), self.channels, -1).transpose(1, 0, 2)
        features = np.concatenate([taps, np.ones((*taps.shape[:2], 1), taps.dtype)], axis=2).astype(np.float64)
        wanted = y[index].T
        for half, sums in enumerate(self._halves):
            rows = at[0] % 2 == half
            if rows.any():
                sums.take(features[:, rows], wanted[:, rows])

    def solve(self) -> Fitting:
        """The convolution, its ridge and residual by two-fold cross-validation over samples."""
        first, second = self._halves
        both = first + second
        ridge, residual = RIDGES[0], both.error(both.solve(RIDGES[0]))
        if first.rows and second.rows:
            errors = {r: second.error(first.solve(r)) + first.error(second.solve(r)) for r in RIDGES}
            ridge = min(errors, key=lambda r: errors[r])
            residual = errors[ridge]
        weights = both.solve(ridge)
        half, ones = tuple(k // 2 for k in self.kernel), (1,) * len(self.kernel)
        kernel = weights[:, :-1].reshape(self.channels, 1, *self.kernel)
        core = Conv(kernel, weights[:, -1].copy(), self.strides, ones, half, half, self.channels)
        return Fitting(core, residual / max(both.spread(), 1e-30))
