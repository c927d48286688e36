"""Changes of type, quantisation, comparisons, sizes and positions."""

from __future__ import annotations

import numpy as np

from onnx_nepenthe.proving.bounds import Bounds, interval, product, top
from onnx_nepenthe.proving.rounding import INTEGERS
from onnx_nepenthe.proving.transfer import TRANSFERS, Call

LARGEST_QUOTIENT = 2.0**30
"""Kernels that round to int32 before they saturate return anything for more."""


@TRANSFERS.register("Cast", "CastLike")
def cast(call: Call) -> Bounds:
    """To integers: towards zero, and anything at all for what does not fit; to bool: 0 or 1."""
    x = call.bounds()
    if call.dtype == "bool":
        return interval(0.0, 1.0)
    if call.dtype not in INTEGERS:
        return x
    least, most = INTEGERS[call.dtype]
    if x.may_be_nan or np.any(x.low <= least - 1) or np.any(x.high >= most + 1):
        return interval(least, most)
    return interval(np.trunc(x.low), np.trunc(x.high), x.axis)


@TRANSFERS.register(
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "And",
    "Or",
    "Xor",
    "Not",
    "IsNaN",
    "IsInf",
)
def truth(call: Call) -> Bounds:
    """False or true."""
    return interval(0.0, 1.0)


@TRANSFERS.register("Shape", "Size", "ArgMax", "ArgMin", "NonZero")
def position(call: Call) -> Bounds:
    """A size or an index, never negative."""
    return interval(0.0, INTEGERS["int64"][1])


@TRANSFERS.register("TopK")
def top_k(call: Call) -> tuple[Bounds, ...]:
    """Some of the elements, and where they are."""
    return call.bounds().hull(), interval(0.0, INTEGERS["int64"][1])


@TRANSFERS.register("DequantizeLinear")
def dequantize(call: Call) -> Bounds:
    """(x - zero point) * scale; the sign of x - zero point is kept."""
    x, scale = call.bounds().hull(), call.bounds(1)
    zero = call.bounds(2).hull() if call.view.has_input(2) else interval(0.0, 0.0)
    axis = call.axis(1, call.rank())
    is_vector = call.rank(1) == 1 and scale.axis == 0 and not call.view.attributes.get("block_size", 0)
    scale = scale.on(axis) if is_vector else scale.hull()
    low, high, nan = product(interval(x.low - zero.high, x.high - zero.low), scale)
    return interval(low, high, scale.axis, nan or scale.may_be_nan)


@TRANSFERS.register("QuantizeLinear")
def quantize(call: Call) -> Bounds:
    """round(x / scale) + zero point, saturated; a step of slack for the rounding of the quotient."""
    x, scale = call.bounds().hull(), call.view.constant_float64(1)
    zero = call.bounds(2).hull() if call.view.has_input(2) else interval(0.0, 0.0)
    if scale is None or call.dtype not in INTEGERS or x.may_be_nan or np.any(scale <= 0):
        return top()
    ratios = [end / s for end in (float(x.low), float(x.high)) for s in (scale.min(), scale.max())]
    if max(map(abs, ratios)) > LARGEST_QUOTIENT:
        return top()
    low, high = np.rint(min(ratios)) - 1 + zero.low, np.rint(max(ratios)) + 1 + zero.high
    low = low if x.low < 0 else np.maximum(low, zero.low)
    return interval(np.clip(low, *INTEGERS[call.dtype]), np.clip(high, *INTEGERS[call.dtype]))
