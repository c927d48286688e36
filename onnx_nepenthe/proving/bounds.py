"""Bounds: where the elements of a tensor must lie, and the arithmetic of their ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Ends = float | npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Bounds:
    """Ends of the interval that holds every element of a tensor, as a whole or per channel.

    Attributes:
        low, high: float64, () for the whole tensor or (channels,) along `axis`; closed ends, may be infinite.
            A finite end means that no element on that side is infinite.
        axis: the axis the channels lie on, counted from 0; None when the ends are scalars.
        may_be_nan: whether a NaN may have arisen here or upstream. `low` and `high` describe the runs in
            which none has: kernels differ in what they make of one.
    """

    low: FloatArray
    high: FloatArray
    axis: int | None = None
    may_be_nan: bool = False

    @property
    def channels(self) -> int | None:
        """How many channels are told apart; None when none are."""
        return None if self.axis is None else self.low.size

    @property
    def is_finite(self) -> bool:
        """Whether both ends of every channel are finite."""
        return bool(np.all(np.isfinite(self.low)) and np.all(np.isfinite(self.high)))

    def hull(self) -> Bounds:
        """The smallest bounds that do not tell channels apart."""
        return interval(self.low.min(initial=np.inf), self.high.max(initial=-np.inf), may_be_nan=self.may_be_nan)

    def on(self, axis: int | None) -> Bounds:
        """The same ends, said to lie on `axis`; `hull()` when `axis` is None."""
        return self.hull() if axis is None or self.axis is None else replace(self, axis=axis)

    def including(self, low: Ends, high: Ends) -> Bounds:
        """Widened to hold [low, high] as well."""
        return replace(self, low=np.minimum(self.low, low), high=np.maximum(self.high, high))

    def tainted(self, may_be_nan: bool = True) -> Bounds:
        """The same ends, perhaps with a NaN."""
        return replace(self, may_be_nan=self.may_be_nan or may_be_nan)


def interval(low: Ends, high: Ends, axis: int | None = None, may_be_nan: bool = False) -> Bounds:
    """Bounds with both ends broadcast to one shape; an end that is NaN becomes infinite, one channel a scalar.

    >>> interval([0, 1], 2, axis=1).high.tolist()
    [2.0, 2.0]
    """
    low64, high64 = np.broadcast_arrays(np.asarray(low, np.float64), np.asarray(high, np.float64))
    low64 = np.where(np.isnan(low64), -np.inf, low64)
    high64 = np.where(np.isnan(high64), np.inf, high64)
    if axis is not None and low64.size != 1:
        return Bounds(low64, high64, axis, may_be_nan)
    if low64.size != 1:
        low64, high64 = low64.min(initial=np.inf), high64.max(initial=-np.inf)
    return Bounds(np.reshape(low64, ()), np.reshape(high64, ()), None, may_be_nan)


def top() -> Bounds:
    """Nothing is known."""
    return interval(-np.inf, np.inf, may_be_nan=True)


def constant_bounds(value: npt.NDArray[Any]) -> Bounds:
    """The range of a constant; per channel when exactly one of its axes is longer than 1.

    >>> constant_bounds(np.array([[[1.0]], [[2.0]]])).axis
    0
    """
    if value.dtype.kind in "OUSc" or value.size == 0:
        return top()
    if value.dtype.kind not in "biuf":
        value = value.astype(np.float64)
    long_axes = [axis for axis, size in enumerate(value.shape) if size > 1]
    if len(long_axes) == 1:
        flat = value.reshape(-1).astype(np.float64)
        return interval(flat, flat, long_axes[0], bool(np.isnan(flat).any()))
    low, high = float(value.min()), float(value.max())
    return interval(low, high, may_be_nan=bool(np.isnan(low) or np.isnan(high)))


def product(a: Bounds, b: Bounds) -> tuple[FloatArray, FloatArray, bool]:
    """Ends of x*y, and whether 0*inf can occur; the ends must already be aligned."""
    with np.errstate(invalid="ignore", over="ignore"):
        corners = [np.nan_to_num(x * y, nan=0.0, posinf=np.inf, neginf=-np.inf) for x, y in _corners(a, b)]
    nan = bool(np.any(_has_zero(a) & _reaches_infinity(b)) or np.any(_has_zero(b) & _reaches_infinity(a)))
    return np.minimum.reduce(corners), np.maximum.reduce(corners), nan


def quotient(a: Bounds, b: Bounds) -> tuple[FloatArray, FloatArray, bool]:
    """Ends of x/y, and whether 0/0 or inf/inf can occur; nothing is known where y may be 0.

    The sign of a zero is not tracked, so 1/y for y in [0, 1] may be -inf.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        corners = [np.asarray(x / y) for x, y in _corners(a, b)]
    unknown = _has_zero(b)
    low = np.where(unknown, -np.inf, np.fmin.reduce(corners))
    high = np.where(unknown, np.inf, np.fmax.reduce(corners))
    return low, high, bool(np.any(unknown) or np.any(_reaches_infinity(a) & _reaches_infinity(b)))


def _corners(a: Bounds, b: Bounds) -> list[tuple[FloatArray, FloatArray]]:
    return [(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]


def _has_zero(bounds: Bounds) -> npt.NDArray[np.bool_]:
    return np.asarray((bounds.low <= 0) & (bounds.high >= 0))


def _reaches_infinity(bounds: Bounds) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isinf(bounds.low) | np.isinf(bounds.high))
