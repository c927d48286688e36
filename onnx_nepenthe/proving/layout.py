"""Operators that move elements without choosing among them: the bounds follow the channel axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnx_nepenthe.opview import Dim
from onnx_nepenthe.proving.bounds import Bounds, interval, top
from onnx_nepenthe.proving.rounding import Extremes, rounded_sum
from onnx_nepenthe.proving.transfer import TRANSFERS, Call

RESIZE_TAPS = 8
"""Neighbours that linear interpolation weighs in three dimensions."""


@TRANSFERS.register("Identity")
def identity(call: Call) -> Bounds:
    """As it is."""
    return call.bounds()


@TRANSFERS.register("Dropout")
def dropout(call: Call) -> Bounds | tuple[Bounds, ...]:
    """As it is in inference; the mask is 0 or 1."""
    training = call.view.constant(2)
    if call.view.has_input(2) and (training is None or np.any(training)):
        return top()
    return call.bounds(), interval(0.0, 1.0)


@TRANSFERS.register("Reshape", "Flatten")
def reshape(call: Call) -> Bounds:
    """Channels that stay together stay told apart; those that are spread out repeat their ends."""
    x, before, after = call.bounds(), call.shape(), call.view.output_shapes[0]
    if x.axis is None or before is None or after is None:
        return x.hull()
    channels = before[x.axis]
    for axis, size in enumerate(after):
        if not isinstance(size, int) or not isinstance(channels, int) or size < channels or size % channels:
            continue
        if _same_size(before[: x.axis], after[:axis], before[x.axis :], after[axis:]):
            return interval(x.low.repeat(size // channels), x.high.repeat(size // channels), axis, x.may_be_nan)
    return x.hull()


def _same_size(
    before: Sequence[Dim], after: Sequence[Dim], rest_before: Sequence[Dim], rest_after: Sequence[Dim]
) -> bool:
    """Whether the axes in front hold equally many elements, seen from either end."""
    for ours, theirs in ((rest_before, rest_after), (before, after)):
        sizes = [math.prod(d for d in dims if isinstance(d, int)) for dims in (ours, theirs)]
        names = [sorted(str(d) for d in dims if not isinstance(d, int)) for dims in (ours, theirs)]
        if sizes[0] == sizes[1] and names[0] == names[1] and not any(d is None for d in (*ours, *theirs)):
            return True
    return False


@TRANSFERS.register("Transpose")
def transpose(call: Call) -> Bounds:
    """The channel axis moves."""
    x, rank = call.bounds(), call.rank()
    if x.axis is None or rank is None:
        return x.hull()
    order = list(call.view.attributes.get("perm", range(rank)[::-1]))
    return x.on(order.index(x.axis))


@TRANSFERS.register("Squeeze")
def squeeze(call: Call) -> Bounds:
    """Axes of size 1 go."""
    x, shape, axes = call.bounds(), call.shape(), call.ints("axes", 1)
    if x.axis is None or shape is None:
        return x.hull()
    if axes is None:
        if call.view.has_input(1) or not all(isinstance(d, int) for d in shape):
            return x.hull()
        axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return x.on(x.axis - sum(axis % len(shape) < x.axis for axis in axes))


@TRANSFERS.register("Unsqueeze")
def unsqueeze(call: Call) -> Bounds:
    """Axes of size 1 come in."""
    x, rank, axes = call.bounds(), call.rank(), call.ints("axes", 1)
    if x.axis is None or rank is None or axes is None:
        return x.hull()
    new = {axis % (rank + len(axes)) for axis in axes}
    old = [axis for axis in range(rank + len(axes)) if axis not in new]
    return x.on(old[x.axis])


@TRANSFERS.register("Expand")
def expand(call: Call) -> Bounds:
    """Broadcasts to a shape: axes come in at the front."""
    x, rank, after = call.bounds(), call.rank(), call.view.output_shapes[0]
    if x.axis is None or rank is None or after is None:
        return x.hull()
    return x.on(x.axis + len(after) - rank)


@TRANSFERS.register("DepthToSpace", "SpaceToDepth")
def rearrange(call: Call) -> Bounds:
    """Channels are dealt out anew."""
    return call.bounds().hull()


@TRANSFERS.register("Resize", "Upsample")
def resize(call: Call) -> Bounds:
    """Nearest copies, linear weighs neighbours by shares; cubic leaves the bounds and is not followed."""
    attributes = call.view.attributes
    mode = attributes.get("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear", "trilinear") or attributes.get("antialias", 0):
        return top()
    x = call.bounds()
    x = x if _keeps_size(call, x.axis) else x.hull()
    if attributes.get("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        outside = call.number("extrapolation_value", 0.0)
        x = x.hull().including(outside, outside)
    if mode == "nearest":
        return x
    return rounded_sum(Extremes.of(x.low, x.high), RESIZE_TAPS, call.precision, axis=x.axis, may_be_nan=_is_risky(x))


def _keeps_size(call: Call, axis: int | None) -> bool:
    before, after = call.shape(), call.view.output_shapes[0]
    if axis is None or before is None or after is None:
        return False
    return isinstance(before[axis], int) and before[axis] == after[axis]


def _is_risky(x: Bounds) -> bool:
    return x.may_be_nan or not x.is_finite
