"""ConvTranspose: with stride 1 a convolution with the flipped kernel, else a map of its own."""

from __future__ import annotations

import numpy as np

from onnx_nepenthe.affine.maps import Conv, FloatArray
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.base import NOT_CONSTANT, READERS, Chain, Reading
from onnx_nepenthe.ops.padding import window
from onnx_nepenthe.opview import OpView


@READERS.register("ConvTranspose")
def conv_transpose(view: OpView) -> Reading | Refused | None:
    """Weight (in, out / groups, *kernel): https://onnx.ai/onnx/operators/onnx__ConvTranspose.html."""
    weight, bias = view.constant_float64(1), view.constant_float64(2)
    if weight is None or (bias is None and view.has_input(2)):
        return NOT_CONSTANT
    if weight.ndim < 3 or weight.size == 0:
        return Refused("its weights have no spatial axes or no entries")
    if "output_shape" in view.attributes:
        return Refused("a transposed convolution with an output shape")
    if view.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return Refused("a transposed convolution with automatic padding")
    geometry = window(view, weight.shape[2:])
    if isinstance(geometry, Refused):
        return geometry
    groups = int(view.attributes.get("group", 1))
    bias = np.zeros(weight.shape[1] * groups) if bias is None else bias.reshape(-1)
    more = tuple(int(n) for n in view.attributes.get("output_padding") or (0,) * len(geometry.strides))
    if len(more) != len(geometry.strides):
        return Refused("its output padding does not fit its kernel")
    if any(s != 1 for s in geometry.strides) or any(more):
        edges = (geometry.strides, geometry.dilations, geometry.begins, geometry.ends)
        return Chain(0, (TransposedConv(weight, bias, *edges, more, groups),))
    reach = [(k - 1) * d for k, d in zip(weight.shape[2:], geometry.dilations, strict=True)]
    begins = tuple(r - p for r, p in zip(reach, geometry.begins, strict=True))
    ends = tuple(r - p for r, p in zip(reach, geometry.ends, strict=True))
    if any(p < 0 for p in (*begins, *ends)):
        return Refused("a transposed convolution that crops more than its kernel adds")
    return Chain(0, (Conv(_flipped(weight, groups), bias, geometry.strides, geometry.dilations, begins, ends, groups),))


def _flipped(weight: FloatArray, groups: int) -> FloatArray:
    """(in, out / groups, *kernel) → (out, in / groups, *kernel), taps in reverse order."""
    inputs, per_group = weight.shape[:2]
    blocks = weight.reshape(groups, inputs // groups, per_group, *weight.shape[2:]).swapaxes(1, 2)
    swapped = blocks.reshape(groups * per_group, inputs // groups, *weight.shape[2:])
    return np.flip(swapped, axis=tuple(range(2, weight.ndim))).copy()
