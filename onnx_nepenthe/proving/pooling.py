"""Pooling and reductions: extremes keep the bounds, averages round, sums scale with the count."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from onnx_nepenthe.proving.bounds import Bounds, FloatArray, interval, top
from onnx_nepenthe.proving.pointwise import KERNEL_ERROR
from onnx_nepenthe.proving.rounding import SPARE_TERMS, Extremes, rounded_sum
from onnx_nepenthe.proving.transfer import TRANSFERS, Call


def _told_by_channel(x: Bounds) -> Bounds:
    """The bounds with ends on axis 1 or none; pooling mixes the positions of every later axis."""
    return x if x.axis in (0, 1) else x.hull()


def _average(call: Call, x: Bounds, count: float) -> Bounds:
    ends, nan = Extremes.of(x.low, x.high), _may_meet_nan(x)
    return rounded_sum(ends, count, call.precision, axis=x.axis, may_be_nan=nan, peak=count)


def _may_meet_nan(x: Bounds) -> bool:
    """Whether elements of x may add up to a NaN: +inf and -inf together do."""
    return x.may_be_nan or bool(np.any(np.isposinf(x.high) & np.isneginf(x.low)))


def _count(shape: tuple[int | str | None, ...] | None, axes: tuple[int, ...] | None) -> float:
    """How many elements the axes hold; inf when a size is unknown."""
    if shape is None or axes is None:
        return np.inf
    sizes = [shape[axis] for axis in axes]
    return math.prod((float(size) if isinstance(size, int) else np.inf) for size in sizes)


def _every_window_sees_data(call: Call) -> bool:
    """Whether no window of a pool can lie in the padding alone."""
    attributes = call.view.attributes
    kernel = attributes.get("kernel_shape", ())
    strides = attributes.get("strides", [1] * len(kernel))
    pads = attributes.get("pads", [0] * 2 * len(kernel))
    padded = any(pads) or attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    rounds_up = bool(attributes.get("ceil_mode", 0))
    if any(d != 1 for d in attributes.get("dilations", ())) and (padded or rounds_up):
        return False
    if any(p >= k for p, k in zip(pads, [*kernel, *kernel], strict=True)):
        return False
    last = pads[len(kernel) :]
    return not rounds_up or all(p <= k - s for p, k, s in zip(last, kernel, strides, strict=True))


@TRANSFERS.register("MaxPool")
def max_pool(call: Call) -> Bounds:
    """Padding never wins, unless a window sees nothing else."""
    x = _told_by_channel(call.bounds())
    return x if _every_window_sees_data(call) else x.including(-np.inf, -np.inf)


@TRANSFERS.register("AveragePool")
def average_pool(call: Call) -> Bounds:
    """Padding counts as zeros when the operator says so."""
    attributes = call.view.attributes
    x = _told_by_channel(call.bounds())
    if not _every_window_sees_data(call):
        return top()
    if attributes.get("count_include_pad", 0) or attributes.get("ceil_mode", 0):
        x = x.including(0.0, 0.0)
    return _average(call, x, math.prod(attributes.get("kernel_shape", ())))


@TRANSFERS.register("GlobalAveragePool")
def global_average_pool(call: Call) -> Bounds:
    """The mean over every position."""
    shape = call.shape()
    axes = None if shape is None else tuple(range(2, len(shape)))
    return _average(call, _told_by_channel(call.bounds()), _count(shape, axes))


@TRANSFERS.register("GlobalMaxPool")
def global_max_pool(call: Call) -> Bounds:
    """The largest position."""
    return _told_by_channel(call.bounds())


@TRANSFERS.register("LRN")
def local_response(call: Call) -> Bounds:
    """x / (bias + alpha/size Σx²)^beta over nearby channels: no larger than x / bias^beta, and of its sign."""
    x, bias, beta = call.bounds(), call.number("bias", 1.0), call.number("beta", 0.75)
    if bias <= 0 or beta < 0 or call.number("alpha", 1e-4) < 0:
        return top()
    grown = bias**-beta * (1 + KERNEL_ERROR)
    low, high = np.minimum(x.low, 0) * grown, np.maximum(x.high, 0) * grown
    return interval(low, high, x.axis, x.may_be_nan or not x.is_finite)


@dataclass(frozen=True, eq=False)
class _Reduction:
    """What a reduction reduces: `x` with its ends on the axis they have in the output, and how many elements each."""

    x: Bounds
    count: float


def _reduction(call: Call) -> _Reduction:
    x, shape = call.bounds(), call.shape()
    axes = call.ints("axes", 1)
    if axes is None and call.view.has_input(1):
        return _Reduction(x.hull(), np.inf)
    if not axes and call.view.attributes.get("noop_with_empty_axes", 0):
        return _Reduction(x, 1.0)
    if shape is None:
        return _Reduction(x.hull(), np.inf)
    reduced = {axis % len(shape) for axis in axes} if axes else set(range(len(shape)))
    count = _count(shape, tuple(reduced))
    if x.axis is None or x.axis in reduced:
        return _Reduction(x.hull(), count)
    lost = 0 if call.view.attributes.get("keepdims", 1) else sum(axis < x.axis for axis in reduced)
    return _Reduction(x.on(x.axis - lost), count)


@TRANSFERS.register("ReduceMax", "ReduceMin")
def reduce_extreme(call: Call) -> Bounds:
    """One of the elements."""
    return _reduction(call).x


@TRANSFERS.register("ReduceMean")
def reduce_mean(call: Call) -> Bounds:
    """The mean; nothing is known of integers, whose sum may wrap."""
    reduction = _reduction(call)
    return top() if "int" in call.dtype else _average(call, reduction.x, reduction.count)


@TRANSFERS.register("ReduceSum")
def reduce_sum(call: Call) -> Bounds:
    """As many times the bounds as there are elements."""
    reduction = _reduction(call)
    return _summed(call, reduction.x, reduction.count)


@TRANSFERS.register("ReduceL1")
def reduce_l1(call: Call) -> Bounds:
    """Σ|x|."""
    reduction = _reduction(call)
    return _summed(call, _up_to(_largest(reduction.x), reduction.x), reduction.count)


@TRANSFERS.register("ReduceSumSquare")
def reduce_sum_square(call: Call) -> Bounds:
    """Σx²."""
    reduction = _reduction(call)
    return _summed(call, _squares(reduction.x), reduction.count)


@TRANSFERS.register("ReduceL2")
def reduce_l2(call: Call) -> Bounds:
    """√Σx²."""
    reduction = _reduction(call)
    squares = _summed(call, _squares(reduction.x), reduction.count)
    high = np.sqrt(squares.high) * (1 + SPARE_TERMS * call.precision.eps)
    return interval(0.0, high, squares.axis, squares.may_be_nan)


def _largest(x: Bounds) -> FloatArray:
    return np.maximum(np.abs(x.low), np.abs(x.high))


def _squares(x: Bounds) -> Bounds:
    with np.errstate(over="ignore"):
        return _up_to(np.square(_largest(x)), x)


def _up_to(high: FloatArray, like: Bounds) -> Bounds:
    return interval(np.zeros_like(high), high, like.axis, like.may_be_nan)


def _summed(call: Call, x: Bounds, count: float) -> Bounds:
    """The sum of `count` elements of x."""
    ends = Extremes.of(x.low, x.high).times(count)
    return rounded_sum(ends, count, call.precision, axis=x.axis, may_be_nan=_may_meet_nan(x))
