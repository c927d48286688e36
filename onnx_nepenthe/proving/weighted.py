"""Weighted sums: convolutions, matrix products, batch normalisation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.proving.bounds import Bounds, FloatArray, interval, product, top
from onnx_nepenthe.proving.rounding import Extremes, rounded_sum
from onnx_nepenthe.proving.transfer import TRANSFERS, Call, on_one_axis

Weights = npt.NDArray[Any]
"""As stored; a large one in float64, or its signs apart, would be several times as large."""
NUMBERS_AT_ONCE = 1 << 21
FIRST_ALWAYS_SPATIAL_BATCHNORM = 9
FIRST_BATCHNORM_WITHOUT_IS_TEST = 7


def _weights(call: Call, index: int) -> Weights | None:
    """The constant operand at `index` as it is stored, when every element is finite."""
    value = call.view.constant(index)
    if value is None or value.dtype.kind in "OSU":
        return None
    rows = np.atleast_1d(value)
    step = _rows_at_once(rows[:1].size)
    parts = (_float64(rows[start : start + step]) for start in range(0, len(rows), step))
    return value if all(np.isfinite(part).all() for part in parts) else None


def _rows_at_once(size: int) -> int:
    return max(1, NUMBERS_AT_ONCE // max(size, 1))


def _float64(part: Weights) -> FloatArray:
    return np.asarray(part, dtype=np.float64)


def _weigh(weight: FloatArray, end: FloatArray) -> FloatArray:
    """Σ weight * end over the last axis; infinite ends count only where the weight is not 0.

    Args:
        weight: (groups, out, in), of one sign.
        end: (groups, in), of one sign.
    """
    finite = np.isfinite(end)
    total = np.asarray(np.einsum("goc,gc->go", weight, np.where(finite, end, 0.0)))
    if finite.all():
        return total
    infinite = np.where(finite, 0.0, np.sign(end))
    hit = np.einsum("goc,gc->go", np.sign(weight), infinite)
    return np.where(hit == 0, total, np.copysign(np.inf, hit))


def _extremes(positive: FloatArray, negative: FloatArray, low: FloatArray, high: FloatArray) -> Extremes:
    """Extremes of Σ w x, each (groups, out).

    Args:
        positive, negative: sums of the weights of each sign, (groups, out, in).
        low, high: ends of x, (groups, in).
    """
    low_plus, low_minus = np.maximum(low, 0), np.minimum(low, 0)
    high_plus, high_minus = np.maximum(high, 0), np.minimum(high, 0)
    return Extremes(
        _weigh(positive, low_plus) + _weigh(negative, high_minus),
        _weigh(positive, low_minus) + _weigh(negative, high_plus),
        _weigh(positive, high_plus) + _weigh(negative, low_minus),
        _weigh(positive, high_minus) + _weigh(negative, low_plus),
    )


def _extremes_of(weight: Weights, low: FloatArray, high: FloatArray, factor: float = 1.0) -> Extremes:
    """Extremes of Σ factor w x, each (groups * out,); float64 only a few rows at a time.

    Args:
        weight: (groups, out, in, taps); all taps see the same x.
        low, high: ends of x, (groups, in).
        factor: of every weight.
    """
    step = _rows_at_once(weight[:, :1].size)
    found = []
    for start in range(0, max(weight.shape[1], 1), step):
        part = factor * _float64(weight[:, start : start + step])
        positive, negative = np.maximum(part, 0).sum(axis=-1), np.minimum(part, 0).sum(axis=-1)
        found.append(_extremes(positive, negative, low, high))
    return Extremes(*(np.concatenate(ends, axis=1).reshape(-1) for ends in zip(*map(_ends, found), strict=True)))


def _ends(extremes: Extremes) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    return extremes.low_plus, extremes.low_minus, extremes.high_plus, extremes.high_minus


def _per_channel(x: Bounds, axis: int | None, channels: int) -> Bounds:
    """Ends of x as (channels,) each."""
    if axis is None or x.axis != axis or x.channels != channels:
        x = x.hull()
    return Bounds(np.broadcast_to(x.low, channels), np.broadcast_to(x.high, channels), axis, x.may_be_nan)


@TRANSFERS.register("Conv")
def conv(call: Call) -> Bounds:
    """Per output channel: positive and negative taps times the ends of each input channel.

    Padding adds zeros to what the taps see.
    """
    weight = _weights(call, 1)
    if weight is None:
        return top()
    groups, taps = int(call.view.attributes.get("group", 1)), int(np.prod(weight.shape[2:]))
    x = _per_channel(call.bounds(), 1, groups * weight.shape[1])
    if _is_padded(call):
        x = x.including(0.0, 0.0)
    by_group = weight.reshape(groups, -1, weight.shape[1], taps)
    ends = _extremes_of(by_group, x.low.reshape(groups, -1), x.high.reshape(groups, -1))
    return _with_bias(call, ends, weight.shape[1] * taps, x)


@TRANSFERS.register("ConvTranspose")
def conv_transpose(call: Call) -> Bounds:
    """As Conv, except that each position is reached by some of the taps only."""
    weight = _weights(call, 1)
    if weight is None:
        return top()
    groups, taps = int(call.view.attributes.get("group", 1)), int(np.prod(weight.shape[2:]))
    x = _per_channel(call.bounds(), 1, weight.shape[0])
    by_group = weight.reshape(groups, -1, weight.shape[1], taps).swapaxes(1, 2)
    ends = _extremes_of(by_group, x.low.reshape(groups, -1), x.high.reshape(groups, -1))
    none = np.zeros_like(ends.low_plus)
    ends = replace(ends, low_plus=none, high_minus=none)
    return _with_bias(call, ends, weight.shape[0] // groups * taps, x)


def _is_padded(call: Call) -> bool:
    automatic = call.view.attributes.get("auto_pad", "NOTSET")
    return automatic in ("SAME_UPPER", "SAME_LOWER") or any(call.view.attributes.get("pads", ()))


def _with_bias(call: Call, ends: Extremes, terms: int, x: Bounds) -> Bounds:
    nan = x.may_be_nan or not x.is_finite
    if call.view.has_input(2):
        bias = _per_channel(call.bounds(2), 0, ends.low_plus.size)
        ends, nan = ends + Extremes.of(bias.low, bias.high), nan or bias.may_be_nan
    return rounded_sum(ends, terms + 1, call.precision, axis=1, may_be_nan=nan)


@TRANSFERS.register("Gemm")
def gemm(call: Call) -> Bounds:
    """alpha A B + beta C; per column where B is constant."""
    alpha = call.number("alpha", 1.0)
    weight, a = _weights(call, 1), call.bounds()
    columns = None if weight is None else 1
    if weight is None:
        depth = _known_size(call.shape(0), 0 if call.view.attributes.get("transA", 0) else 1)
        ends, terms = _of_both_unknown(a, _scaled(call.bounds(1), alpha), depth)
    else:
        weight = weight if call.view.attributes.get("transB", 0) else weight.T
        a = _per_channel(a, 0 if call.view.attributes.get("transA", 0) else 1, weight.shape[1])
        ends, terms = _of_constant(weight, a, alpha), weight.shape[1]
    nan = a.may_be_nan or not a.is_finite or (weight is None and _is_risky(call.bounds(1)))
    if call.view.has_input(2):
        c = _scaled(_third_operand(call, columns), call.number("beta", 1.0))
        ends, terms, nan = ends + Extremes.of(c.low, c.high), terms + 1, nan or _is_risky(c)
    return rounded_sum(ends, terms, call.precision, axis=columns, may_be_nan=nan)


def _third_operand(call: Call, axis: int | None) -> Bounds:
    """C of Gemm, its ends on `axis` of the result or none."""
    c, rank = call.bounds(2), call.rank(2)
    if rank is None or c.axis is None or c.axis + 2 - rank != axis:
        return c.hull()
    return c.on(axis)


def _scaled(bounds: Bounds, factor: float) -> Bounds:
    low, high, nan = product(bounds, interval(factor, factor))
    return Bounds(low, high, bounds.axis, bounds.may_be_nan or nan)


def _is_risky(bounds: Bounds) -> bool:
    return bounds.may_be_nan or not bounds.is_finite


def _known_size(shape: tuple[int | str | None, ...] | None, axis: int) -> float:
    size = None if shape is None or not -len(shape) <= axis < len(shape) else shape[axis]
    return float(size) if isinstance(size, int) else np.inf


def _of_constant(weight: Weights, x: Bounds, factor: float = 1.0) -> Extremes:
    """Of `factor` times a (out, in) matrix times x (in,)."""
    return _extremes_of(weight[None, ..., None], x.low[None], x.high[None], factor)


def _of_both_unknown(a: Bounds, b: Bounds, depth: float) -> tuple[Extremes, float]:
    low, high, _ = product(a.hull(), b.hull())
    return Extremes.of(low, high).times(depth), depth


@TRANSFERS.register("MatMul")
def matmul(call: Call) -> Bounds:
    """Per column when the right operand is a constant matrix, per row when the left one is."""
    for index, other in ((1, 0), (0, 1)):
        weight, rank = _weights(call, index), call.rank(other)
        if weight is None or weight.ndim != 2 or rank is None or rank < 2:
            continue
        weight = weight.T if index == 1 else weight
        axis = rank - 1 if index == 1 else rank - 2
        x = _per_channel(call.bounds(other), axis, weight.shape[1])
        ends, terms = _of_constant(weight, x), float(weight.shape[1])
        return rounded_sum(ends, terms, call.precision, axis=axis, may_be_nan=_is_risky(x))
    a, b = call.bounds(0), call.bounds(1)
    ends, terms = _of_both_unknown(a, b, _known_size(call.shape(0), -1))
    return rounded_sum(ends, terms, call.precision, axis=None, may_be_nan=_is_risky(a) or _is_risky(b))


@TRANSFERS.register("BatchNormalization")
def batch_normalization(call: Call) -> Bounds:
    """In inference: (x - mean) * scale / sqrt(var + epsilon) + bias, in whatever order."""
    constants = [_weights(call, i) for i in range(1, 5)]
    present = [_float64(c) for c in constants if c is not None]
    if len(present) < len(constants) or not _is_inference(call) or len({c.shape for c in present}) > 1:
        return top()
    scale, bias, mean, variance = present
    epsilon = call.number("epsilon", 1e-5)
    if scale.ndim != 1 or np.any(variance + epsilon <= 0):
        return top()
    slope = scale / np.sqrt(variance + epsilon)
    (x,), _ = on_one_axis([_per_channel(call.bounds(), 1, scale.size)])
    low, high, nan = product(x, Bounds(slope, slope))
    shift = -slope * mean
    ends = Extremes.of(low, high) + Extremes.of(shift, shift) + Extremes.of(bias, bias)
    return rounded_sum(ends, 3, call.precision, axis=1, may_be_nan=nan or _is_risky(x))


def _is_inference(call: Call) -> bool:
    attributes, version = call.view.attributes, call.view.version
    if version < FIRST_BATCHNORM_WITHOUT_IS_TEST or attributes.get("training_mode", 0):
        return False
    spatial = attributes.get("spatial", 1) or version >= FIRST_ALWAYS_SPATIAL_BATCHNORM
    return bool(spatial) and not any(call.view.outputs[1:])
