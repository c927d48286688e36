"""Least-squares maps: what a part of a network does, as well as one affine operator can do it.

The normal equations are added up batch by batch, so memory does not grow with the number of samples.
Source: ALGORITHMS.md §8 (lines instead of identities, whole blocks by one convolution).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil, prod
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.affine.maps import AffineMap, Conv, Dense, Ints
from onnx_nepenthe.normal import TOWARDS, Normal, Sums
from onnx_nepenthe.onesided import Bounds, OneSided

Array = npt.NDArray[Any]
POSITIONS = 2048
"""Of a batch that a convolution is fitted on."""
ROWS = 8192
"""Of a batch that a matrix is fitted on."""


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


@dataclass(frozen=True)
class Terms:
    """How a regression is done.

    Attributes:
        bounds: flat pieces of the rectifier behind the target, see `onesided`; None to count every error.
        share: rows that are used of a sample, on average; 0 for the fitter's own number.
        towards: ridges that draw weights to those that are known.
    """

    bounds: Bounds | None = None
    share: float = 0.0
    towards: tuple[float, ...] = TOWARDS

    def rows(self, samples: int, otherwise: int) -> int:
        """Rows of a batch that are used at most."""
        return ceil(self.share * samples) if self.share else otherwise

    def normal(self, features: int, outputs: int, rng: np.random.Generator) -> Normal:
        """The normal equations of such a regression."""
        onesided = None
        if self.bounds is not None:
            onesided = OneSided(features + 1, outputs, self.bounds, rng.spawn(1)[0])
        return Normal(features, outputs, onesided, self.towards)


PLAIN = Terms()
"""Every error counts, and every fitter uses as many rows as it likes."""


@dataclass
class ConvFitter:
    """A convolution from (n, in, *space) to (n, out, *smaller space).

    Attributes:
        inputs, outputs: channels.
        kernel: taps per spatial axis, odd; padded to keep the size.
        strides: per spatial axis.
        rng: picks the positions that are used of each batch.
        terms: how.
        prior: a convolution to stay near to; its geometry instead of the one above.
    """

    inputs: int
    outputs: int
    kernel: Ints
    strides: Ints
    rng: np.random.Generator
    terms: Terms = PLAIN
    prior: Conv | None = None
    _shape: Conv = field(init=False)
    _normal: Normal = field(init=False)

    def __post_init__(self) -> None:
        half, ones = tuple(k // 2 for k in self.kernel), (1,) * len(self.kernel)
        nothing = np.zeros((self.outputs, self.inputs, *self.kernel))
        self._shape = self.prior or Conv(nothing, np.zeros(self.outputs), self.strides, ones, half, half)
        self._normal = self.terms.normal(self.inputs * prod(self.kernel), self.outputs, self.rng)

    def add(self, x: Array, y: Array, beside: Array | None = None) -> None:
        """Take one batch: x (n, in, *space), y (n, out, *smaller space) with what others add to it."""
        patches = patches_of(x, self._shape)
        count = y.shape[0] * prod(y.shape[2:])
        chosen = self.rng.permutation(count)[: self.terms.rows(len(y), POSITIONS)]
        at = np.unravel_index(chosen, (y.shape[0], *y.shape[2:]))
        index: Any = (at[0], slice(None), *at[1:])
        features = patches[index].reshape(len(chosen), -1)
        wanted, others = _rows(y, index), None if beside is None else _rows(beside, index)
        wanted = wanted if others is None else wanted - others
        self._normal.add(np.ascontiguousarray(features, dtype=np.float32), wanted, at[0], others)

    @property
    def sums(self) -> Sums:
        """All that was added up."""
        return self._normal.both

    def solve(self) -> Fitting:
        """The convolution, with zero padding at the edge as in training."""
        return self._convolution(self._normal, tuple(range(self.inputs)))

    def solve_on(self, kept: Ints) -> Fitting:
        """The convolution of these channels alone."""
        taps = prod(self.kernel)
        wanted = [at * taps + tap for at in kept for tap in range(taps)] + [self.inputs * taps]
        fitting = self._convolution(self._normal.on(np.array(wanted)), kept)
        return Fitting(fitting.core, fitting.residual, tuple(kept))

    def _convolution(self, normal: Normal, kept: Ints) -> Fitting:
        known = None
        if self.prior is not None:
            weight = self.prior.weight[:, list(kept)].reshape(self.outputs, -1)
            known = np.concatenate([weight, self.prior.bias[:, None]], axis=1).T
        weights, bias, residual = normal.solve(known)
        weight = weights.T.reshape(self.outputs, len(kept), *self.kernel)
        return Fitting(replace(self._shape, weight=weight, bias=bias), residual)


def _rows(y: Array, index: Any) -> Array:
    rows: Array = y[index].astype(np.float32)
    return rows


def windows(x: Array, kernel: Ints, strides: Ints) -> Array:
    """A view (n, channels, *positions, *kernel) of `x` (n, channels, *space), zero-padded by kernel // 2."""
    half = tuple(k // 2 for k in kernel)
    return _windows(x, kernel, strides, (1,) * len(kernel), half, half)


def patches_of(x: Array, m: Conv) -> Array:
    """What a convolution (of one group) sees at each position: (n, channels, *positions, *kernel)."""
    return _windows(x, m.kernel, m.strides, m.dilations, m.pads_begin, m.pads_end)


def _windows(x: Array, kernel: Ints, strides: Ints, dilations: Ints, begins: Ints, ends: Ints) -> Array:
    pads = [(0, 0), (0, 0), *zip(begins, ends, strict=True)]
    spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(np.pad(x, pads), spans, axis=tuple(range(2, x.ndim)))
    steps = (*strides, *dilations)
    every: Any = (slice(None), slice(None), *(slice(None, None, step) for step in steps))
    found: Array = view[every]
    return found


@dataclass
class DenseFitter:
    """A matrix along the last axis, from (…, in) to (…, out).

    Attributes:
        inputs, outputs, axis: of the matrix.
        rng: picks the rows that are used of each batch.
        terms: how.
        prior: a matrix to stay near to.
    """

    inputs: int
    outputs: int
    axis: int
    rng: np.random.Generator
    terms: Terms = PLAIN
    prior: Dense | None = None
    _normal: Normal = field(init=False)

    def __post_init__(self) -> None:
        self._normal = self.terms.normal(self.inputs, self.outputs, self.rng)

    def add(self, x: Array, y: Array, beside: Array | None = None) -> None:
        """Take one batch: x (…, in), y (…, out) with what others add to it."""
        samples = np.repeat(np.arange(len(x)), prod(x.shape[1:-1]))
        chosen = self.rng.permutation(len(samples))[: self.terms.rows(len(x), ROWS)]
        wanted, others = _rows(y.reshape(-1, self.outputs), chosen), None
        if beside is not None:
            others = _rows(np.broadcast_to(beside, y.shape).reshape(-1, self.outputs), chosen)
            wanted = wanted - others
        self._normal.add(_rows(x.reshape(-1, self.inputs), chosen), wanted, samples[chosen], others)

    def solve(self) -> Fitting:
        """The matrix."""
        known = None
        if self.prior is not None:
            known = np.concatenate([self.prior.weight, self.prior.bias[:, None]], axis=1).T
        weights, bias, residual = self._normal.solve(known)
        return Fitting(Dense(self.axis, weights.T.copy(), bias), residual)
