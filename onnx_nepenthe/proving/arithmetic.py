"""Operators of several operands that broadcast: sums, products, choices."""

from __future__ import annotations

import functools

import numpy as np

from onnx_nepenthe.proving.bounds import Bounds, interval, product, quotient, top
from onnx_nepenthe.proving.pointwise import pointwise
from onnx_nepenthe.proving.rounding import Extremes, rounded_sum
from onnx_nepenthe.proving.transfer import TRANSFERS, Call, aligned


def _same_operand(call: Call) -> bool:
    first, second = call.view.input(0), call.view.input(1)
    return first is not None and second is not None and first.name == second.name


def _added(a: Bounds, b: Bounds, axis: int | None) -> Bounds:
    with np.errstate(invalid="ignore"):
        low, high = a.low + b.low, a.high + b.high
    opposite = bool(
        np.any(np.isposinf(a.high) & np.isneginf(b.low)) or np.any(np.isneginf(a.low) & np.isposinf(b.high))
    )
    return interval(low, high, axis, a.may_be_nan or b.may_be_nan or opposite)


@TRANSFERS.register("Add")
def add(call: Call) -> Bounds:
    """One correctly rounded addition."""
    (a, b), axis = aligned(call)
    return _added(a, b, axis)


@TRANSFERS.register("Sub")
def subtract(call: Call) -> Bounds:
    """One correctly rounded subtraction; x - x is 0."""
    (a, b), axis = aligned(call)
    if _same_operand(call) and a.is_finite:
        return interval(0.0, 0.0, may_be_nan=a.may_be_nan)
    return _added(a, interval(-b.high, -b.low, b.axis, b.may_be_nan), axis)


@TRANSFERS.register("Sum")
def total(call: Call) -> Bounds:
    """A sum of any number of operands, in any order."""
    return _sum_of_all(call, 1)


@TRANSFERS.register("Mean")
def mean(call: Call) -> Bounds:
    """The sum over the number of operands."""
    return _sum_of_all(call, len(call.view.inputs))


def _sum_of_all(call: Call, divisor: int) -> Bounds:
    operands, axis = aligned(call)
    ends = functools.reduce(Extremes.__add__, (Extremes.of(b.low / divisor, b.high / divisor) for b in operands))
    nan = any(b.may_be_nan for b in operands)
    return rounded_sum(ends, len(operands), call.precision, axis=axis, may_be_nan=nan, peak=divisor)


@TRANSFERS.register("Mul")
def multiply(call: Call) -> Bounds:
    """One correctly rounded product; x * x is never negative."""
    if _same_operand(call):
        return pointwise(call, np.square, turning=(0.0,), exact=True)
    (a, b), axis = aligned(call)
    low, high, nan = product(a, b)
    return interval(low, high, axis, nan or a.may_be_nan or b.may_be_nan)


@TRANSFERS.register("Div")
def divide(call: Call) -> Bounds:
    """One correctly rounded quotient; nothing is known when the divisor may be 0."""
    (a, b), axis = aligned(call)
    low, high, nan = quotient(a, b)
    return interval(low, high, axis, nan or a.may_be_nan or b.may_be_nan)


@TRANSFERS.register("Reciprocal")
def reciprocal(call: Call) -> Bounds:
    """1/x; nothing is known when x may be 0."""
    x = call.bounds()
    low, high, undefined = quotient(interval(1.0, 1.0), x)
    return interval(low, high, x.axis, x.may_be_nan or undefined)


@TRANSFERS.register("Max")
def maximum(call: Call) -> Bounds:
    """The largest operand, element by element."""
    operands, axis = aligned(call)
    low = functools.reduce(np.maximum, (b.low for b in operands))
    high = functools.reduce(np.maximum, (b.high for b in operands))
    return interval(low, high, axis, any(b.may_be_nan for b in operands))


@TRANSFERS.register("Min")
def minimum(call: Call) -> Bounds:
    """The smallest operand, element by element."""
    operands, axis = aligned(call)
    low = functools.reduce(np.minimum, (b.low for b in operands))
    high = functools.reduce(np.minimum, (b.high for b in operands))
    return interval(low, high, axis, any(b.may_be_nan for b in operands))


@TRANSFERS.register("Where")
def where(call: Call) -> Bounds:
    """Either choice; the condition is not looked at."""
    (a, b), axis = aligned(call, (1, 2))
    low, high = np.minimum(a.low, b.low), np.maximum(a.high, b.high)
    return interval(low, high, axis, a.may_be_nan or b.may_be_nan)


@TRANSFERS.register("Pow")
def power(call: Call) -> Bounds:
    """A constant scalar exponent: an even or odd integer, or any positive one of a non-negative base."""
    given = call.view.constant_float64(1)
    if given is None or given.size != 1:
        return top()
    exponent = float(given.reshape(-1)[0])
    if exponent == 0:
        return interval(1.0, 1.0)
    if exponent > 0 and exponent % 2 == 0:
        return pointwise(call, lambda x: np.abs(x) ** exponent, turning=(0.0,))
    if exponent > 0 and exponent % 2 == 1:
        return pointwise(call, lambda x: np.sign(x) * np.abs(x) ** exponent)
    if np.any(call.bounds().low < 0) or (exponent < 0 and np.any(call.bounds().low <= 0)):
        return top()
    return pointwise(call, lambda x: x**exponent, limits=(0.0, np.inf))
