"""Conv with constant weights, 1-D to n-D, grouped, dilated, any padding."""

from __future__ import annotations

import numpy as np

from onnx_nepenthe.affine.maps import Conv
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.base import NOT_CONSTANT, READERS, Chain, Reading
from onnx_nepenthe.ops.padding import window
from onnx_nepenthe.opview import OpView


@READERS.register("Conv")
def conv(view: OpView) -> Reading | Refused | None:
    """https://onnx.ai/onnx/operators/onnx__Conv.html."""
    weight, bias = view.constant_float64(1), view.constant_float64(2)
    if weight is None or (bias is None and view.has_input(2)):
        return NOT_CONSTANT
    if weight.ndim < 3 or weight.size == 0:
        return Refused("its weights have no spatial axes or no entries")
    geometry = window(view, weight.shape[2:])
    if isinstance(geometry, Refused):
        return geometry
    groups = int(view.attributes.get("group", 1))
    bias = np.zeros(weight.shape[0]) if bias is None else bias.reshape(-1)
    m = Conv(weight, bias, geometry.strides, geometry.dilations, geometry.begins, geometry.ends, groups)
    return Chain(0, (m,))
