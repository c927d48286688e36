"""Scalar functions applied element by element: bounds from the ends and the turning points between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.proving.bounds import Bounds, FloatArray, interval
from onnx_nepenthe.proving.transfer import TRANSFERS, Call

Function = Callable[[FloatArray], npt.NDArray[Any]]
KERNEL_ERROR = 1e-5
"""Relative and absolute error allowed to kernels of transcendental functions in single precision."""
KERNEL_ULPS = 32
FULL = 1.0 + 2.0**-21
"""Where kernels saturate whose limit is 1: onnxruntime's Sigmoid reaches 1 + 2^-23, Tanh and Softsign 1 + 2^-22."""
FAR = 1e30
"""Stands for infinity where a formula gives 0 * inf."""


def pointwise(
    call: Call,
    function: Function,
    turning: Sequence[float] = (),
    limits: tuple[float, float] = (-np.inf, np.inf),
    exact: bool = False,
) -> Bounds:
    """Bounds of `function(x)`.

    Args:
        call: an operator whose first operand is x.
        function: monotone between the turning points, in float64.
        turning: where it turns, or both sides of a jump.
        limits: what no kernel leaves.
        exact: whether kernels round at most once; otherwise a margin is added, which keeps the sign.
    """
    x = call.bounds()
    at_low, at_high = _at_end(function, x.low), _at_end(function, x.high)
    candidates = [at_low[0], at_high[0]]
    for point in turning:
        value = function(np.asarray(point, np.float64))
        candidates.append(np.where((x.low <= point) & (point <= x.high), value, at_low[0]))
    low, high = np.minimum.reduce(candidates), np.maximum.reduce(candidates)
    if not exact:
        low, high = _widened(low, high, call.precision.eps)
    low, high = np.clip(low, *limits), np.clip(high, *limits)
    return interval(low, high, x.axis, x.may_be_nan or at_low[1] or at_high[1])


def _at_end(function: Function, end: FloatArray) -> tuple[FloatArray, bool]:
    """Values at an end, the limit where the formula gives NaN, and whether it gives one."""
    with np.errstate(all="ignore"):
        value = np.asarray(function(end), np.float64)
        limit = np.asarray(function(np.clip(end, -FAR, FAR)), np.float64)
    undefined = np.isnan(value)
    limit = np.where(np.abs(limit) >= FAR / 10, np.copysign(np.inf, limit), limit)
    return np.where(undefined, limit, value), bool(np.any(undefined))


def _widened(low: FloatArray, high: FloatArray, eps: float) -> tuple[FloatArray, FloatArray]:
    error = max(KERNEL_ERROR, KERNEL_ULPS * eps)
    with np.errstate(invalid="ignore", over="ignore"):
        below, above = low - error * (1 + np.abs(low)), high + error * (1 + np.abs(high))
    below = np.where(np.isposinf(low), np.inf, np.where(low >= 0, np.maximum(below, 0), below))
    above = np.where(np.isneginf(high), -np.inf, np.where(high <= 0, np.minimum(above, 0), above))
    return below, above


@TRANSFERS.register("Erf")
def erf(call: Call) -> Bounds:
    """The error function."""
    return pointwise(call, error_function, limits=(-FULL, FULL))


def error_function(x: FloatArray) -> FloatArray:
    """erf(x) in float64."""
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


@TRANSFERS.register("Softsign")
def softsign(call: Call) -> Bounds:
    """x / (1 + |x|)."""
    return pointwise(call, lambda x: x / (1 + np.abs(x)), limits=(-FULL, FULL))


@TRANSFERS.register("Abs")
def absolute(call: Call) -> Bounds:
    """|x|."""
    return pointwise(call, np.abs, turning=(0.0,), exact=True)


@TRANSFERS.register("Exp")
def exponential(call: Call) -> Bounds:
    """Never negative."""
    return pointwise(call, np.exp, limits=(0.0, np.inf))


@TRANSFERS.register("Log")
def logarithm(call: Call) -> Bounds:
    """NaN below zero."""
    return _of_nonnegative(call, np.log)


@TRANSFERS.register("Sqrt")
def square_root(call: Call) -> Bounds:
    """NaN below zero."""
    return _of_nonnegative(call, np.sqrt)


def _of_nonnegative(call: Call, function: Function) -> Bounds:
    undefined = bool(np.any(call.bounds().low < 0))
    return pointwise(call, lambda x: function(np.maximum(x, 0))).tainted(undefined)


@TRANSFERS.register("Neg")
def negative(call: Call) -> Bounds:
    """-x."""
    return pointwise(call, np.negative, exact=True)


@TRANSFERS.register("Sign")
def sign(call: Call) -> Bounds:
    """-1, 0 or 1."""
    return pointwise(call, np.sign, exact=True)


@TRANSFERS.register("Floor")
def floor(call: Call) -> Bounds:
    """Rounds down."""
    return pointwise(call, np.floor, exact=True)


@TRANSFERS.register("Ceil")
def ceiling(call: Call) -> Bounds:
    """Rounds up."""
    return pointwise(call, np.ceil, exact=True)


@TRANSFERS.register("Round")
def nearest(call: Call) -> Bounds:
    """Rounds half to even."""
    return pointwise(call, np.rint, exact=True)


@TRANSFERS.register("Sin", "Cos")
def wave(call: Call) -> Bounds:
    """Between -1 and 1; undefined at infinity."""
    return interval(-1.0, 1.0, may_be_nan=call.bounds().may_be_nan or not call.bounds().is_finite)


@TRANSFERS.register("Softmax", "Hardmax")
def softmax(call: Call) -> Bounds:
    """Shares between 0 and 1; undefined where an operand is infinite."""
    return interval(0.0, 1.0, may_be_nan=call.bounds().may_be_nan or not call.bounds().is_finite)


@TRANSFERS.register("LogSoftmax")
def log_softmax(call: Call) -> Bounds:
    """Never positive."""
    return interval(-np.inf, 0.0, may_be_nan=call.bounds().may_be_nan or not call.bounds().is_finite)
