"""AveragePool, GlobalAveragePool and ReduceMean over space."""

from __future__ import annotations

from math import prod

import numpy as np

from onnx_nepenthe.affine.maps import Conv
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.base import FLOATS, READERS, Chain, Mean, Reading, known_axis
from onnx_nepenthe.ops.padding import window
from onnx_nepenthe.opview import OpView

_AXES_AS_INPUT = 18


@READERS.register("AveragePool")
def average_pool(view: OpView) -> Reading | Refused | None:
    """A depthwise convolution with equal taps: https://onnx.ai/onnx/operators/onnx__AveragePool.html."""
    operand = view.input(0)
    if operand is None or operand.shape is None or len(operand.shape) < 3:
        return Refused("the shape of its operand is not known")
    kernel = tuple(int(k) for k in view.attributes["kernel_shape"])
    channels, sizes = operand.shape[1], operand.shape[2:]
    if len(kernel) != len(sizes) or not isinstance(channels, int):
        return Refused("its number of channels or spatial axes is not known")
    geometry = window(view, kernel)
    if isinstance(geometry, Refused):
        return geometry
    padded = any(geometry.begins) or any(geometry.ends)
    if padded and not view.attributes.get("count_include_pad", 0):
        return Refused("border: its averages leave out the padding")
    if not padded and kernel == sizes and all(d == 1 for d in geometry.dilations):
        return Chain(0, (Mean(tuple(range(2, len(operand.shape))), True),))
    if view.attributes.get("ceil_mode", 0) and not _fits(sizes, kernel, geometry.strides, geometry.dilations, padded):
        return Refused("it rounds its size up (ceil_mode)")
    weight = np.full((channels, 1, *kernel), 1.0 / prod(kernel))
    m = Conv(weight, np.zeros(channels), geometry.strides, geometry.dilations, geometry.begins, geometry.ends, channels)
    return Chain(0, (m,))


def _fits(
    sizes: tuple[object, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    padded: bool,
) -> bool:
    """Whether rounding up and down give the same number of windows."""
    if padded:
        return False
    axes = zip(sizes, kernel, strides, dilations, strict=True)
    return all(isinstance(n, int) and (n - (k - 1) * d - 1) % s == 0 for n, k, s, d in axes)


@READERS.register("GlobalAveragePool")
def global_average_pool(view: OpView) -> Reading | Refused | None:
    """https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html."""
    operand = view.input(0)
    if operand is None or operand.rank is None or operand.rank < 3:
        return Refused("the rank of its operand is not known")
    return Chain(0, (Mean(tuple(range(2, operand.rank)), True),))


@READERS.register("ReduceMean")
def reduce_mean(view: OpView) -> Reading | Refused | None:
    """Axes are an attribute before opset 18 and an input since: https://onnx.ai/onnx/operators/onnx__ReduceMean.html."""
    operand = view.input(0)
    if operand is None or operand.rank is None or operand.dtype not in FLOATS:
        return Refused("the rank or type of its operand is not known")
    axes = view.attributes.get("axes")
    if view.version >= _AXES_AS_INPUT and view.has_input(1):
        given = view.constant(1)
        if given is None:
            return Refused("its axes are not constant")
        axes = given.reshape(-1).tolist()
    if not axes:
        return None
    known = [known_axis(int(axis), operand.rank) for axis in axes]
    front = tuple(sorted(axis for axis in known if isinstance(axis, int)))
    if len(front) != len(known):
        return Refused("its axes do not exist")
    return Chain(0, (Mean(front, bool(view.attributes.get("keepdims", 1))),))
