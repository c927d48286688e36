"""Operators that choose, join and pad elements along axes."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.proving.bounds import Bounds, interval
from onnx_nepenthe.proving.transfer import TRANSFERS, Call, on_one_axis

Index = slice | npt.NDArray[np.int64]


def _union(operands: list[Bounds]) -> Bounds:
    """Ends that hold every operand, told apart by channel where the operands agree on the axis."""
    placed, axis = on_one_axis(operands)
    low = functools.reduce(np.minimum, (b.low for b in placed))
    high = functools.reduce(np.maximum, (b.high for b in placed))
    return interval(low, high, axis, any(b.may_be_nan for b in placed))


@TRANSFERS.register("Concat")
def concat(call: Call) -> Bounds:
    """Ends follow one another along the axis when that is where channels lie or sizes are known."""
    operands = [call.bounds(i) for i in range(len(call.view.inputs))]
    rank = next((r for r in map(call.rank, range(len(operands))) if r is not None), None)
    axis = call.axis(1, rank)
    shapes = [call.shape(i) for i in range(len(operands))]
    if axis is None or any(b.axis not in (None, axis) for b in operands):
        return _union(operands)
    sizes = [None if shape is None or axis >= len(shape) else shape[axis] for shape in shapes]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) < len(sizes):
        return _union([b.hull() for b in operands])
    low = np.concatenate([np.broadcast_to(b.low, n) for b, n in zip(operands, known, strict=True)])
    high = np.concatenate([np.broadcast_to(b.high, n) for b, n in zip(operands, known, strict=True)])
    return interval(low, high, axis, any(b.may_be_nan for b in operands))


@TRANSFERS.register("Split")
def split(call: Call) -> tuple[Bounds, ...]:
    """Each part its own ends, when the axis is the channels'."""
    x, axis, parts = call.bounds(), call.axis(0, call.rank()), len(call.view.outputs)
    if x.axis is None or (axis is not None and axis != x.axis):
        return (x,) * parts
    sizes = call.ints("split", 1) or _sizes_of_outputs(call, axis)
    if axis is None or sizes is None or x.channels is None or sum(sizes) != x.channels:
        return (x.hull(),) * parts
    ends = np.cumsum(sizes)
    return tuple(_picked(x, np.arange(end - size, end)) for size, end in zip(sizes, ends, strict=True))


def _sizes_of_outputs(call: Call, axis: int | None) -> tuple[int, ...] | None:
    shapes = call.view.output_shapes
    if axis is None or call.view.has_input(1) or any(s is None for s in shapes):
        return None
    sizes = [s[axis] for s in shapes if s is not None]
    return tuple(s for s in sizes if isinstance(s, int)) if all(isinstance(s, int) for s in sizes) else None


def _picked(x: Bounds, index: Index) -> Bounds:
    """The channels that `index` picks, on the same axis."""
    low, high = x.low[index], x.high[index]
    return x.hull() if low.size == 0 else interval(low, high, x.axis, x.may_be_nan)


@TRANSFERS.register("Slice")
def slice_axes(call: Call) -> Bounds:
    """Fewer channels when they are what is sliced."""
    x, rank = call.bounds(), call.rank()
    starts, ends = call.ints("starts", 1), call.ints("ends", 2)
    if x.axis is None or rank is None or starts is None or ends is None:
        return x.hull()
    axes, steps = call.ints("axes", 3), call.ints("steps", 4)
    if (axes is None and call.view.has_input(3)) or (steps is None and call.view.has_input(4)):
        return x.hull()
    axes = tuple(range(len(starts))) if axes is None else tuple(a % rank for a in axes)
    if x.axis not in axes:
        return x
    at = axes.index(x.axis)
    step = 1 if steps is None else steps[at]
    return x.hull() if step < 0 else _picked(x, slice(starts[at], ends[at], step))


@TRANSFERS.register("Gather")
def gather(call: Call) -> Bounds:
    """The chosen channels when the indices are constant."""
    x, rank, chosen = call.bounds(), call.rank(), call.rank(1)
    axis = call.axis(0, rank)
    if x.axis is None or axis is None or chosen is None:
        return x.hull()
    if axis != x.axis:
        return x if x.axis < axis else x.on(x.axis + chosen - 1)
    indices = call.view.constant(1)
    if indices is None or indices.ndim > 1:
        return x.hull()
    return _picked(x, np.atleast_1d(indices).astype(np.int64))


@TRANSFERS.register("GatherElements", "GatherND")
def gather_elements(call: Call) -> Bounds:
    """Some of the elements, anywhere."""
    return call.bounds().hull()


@TRANSFERS.register("Tile")
def tile(call: Call) -> Bounds:
    """Channels repeat as a block."""
    x, repeats = call.bounds(), call.ints("repeats", 1)
    if x.axis is None or repeats is None or x.axis >= len(repeats) or repeats[x.axis] < 1:
        return x.hull()
    times = repeats[x.axis]
    return interval(np.tile(x.low, times), np.tile(x.high, times), x.axis, x.may_be_nan)


@TRANSFERS.register("Pad")
def pad(call: Call) -> Bounds:
    """A constant joins the bounds where it is put; other modes copy elements."""
    x, pads = call.bounds(), call.ints("pads", 1)
    constant = call.view.attributes.get("mode", "constant") == "constant"
    value = _pad_value(call)
    if pads is None or call.view.has_input(3):
        return _union([x.hull(), value]) if constant else x.hull()
    rank = len(pads) // 2
    onto_channels = x.axis is not None and (pads[x.axis] != 0 or pads[x.axis + rank] != 0)
    elsewhere = any(p > 0 for i, p in enumerate(pads) if i % rank != x.axis)
    if not constant:
        return x.hull() if onto_channels else x
    x = x.including(value.low, value.high) if elsewhere else x
    return _padded_channels(x, value, pads, rank).tainted(value.may_be_nan)


def _padded_channels(x: Bounds, value: Bounds, pads: tuple[int, ...], rank: int) -> Bounds:
    if x.axis is None:
        return x
    before, after = pads[x.axis], pads[x.axis + rank]
    if before < 0 or after < 0:
        return _union([x.hull(), value])
    low = np.concatenate([np.full(before, value.low), x.low, np.full(after, value.low)])
    high = np.concatenate([np.full(before, value.high), x.high, np.full(after, value.high)])
    return interval(low, high, x.axis, x.may_be_nan)


def _pad_value(call: Call) -> Bounds:
    if call.view.has_input(2):
        return call.bounds(2).hull()
    value = call.number("value", 0.0)
    return interval(value, value)
