"""Gemm with a constant matrix, all flags."""

from __future__ import annotations

import numpy as np

from onnx_nepenthe.affine.maps import Dense
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.base import FLOATS, NOT_CONSTANT, READERS, Chain, Reading
from onnx_nepenthe.opview import OpView


@READERS.register("Gemm")
def gemm(view: OpView) -> Reading | Refused | None:
    """alpha * A' * B' + beta * C: https://onnx.ai/onnx/operators/onnx__Gemm.html."""
    matrix, addend = view.constant_float64(1), view.constant_float64(2)
    if matrix is None or (addend is None and view.has_input(2)):
        return NOT_CONSTANT
    operand = view.input(0)
    if operand is None or operand.dtype not in FLOATS:
        return Refused("its numbers are not floating-point")
    if view.attributes.get("transA", 0):
        return Refused("it transposes its left operand")
    weight = matrix if view.attributes.get("transB", 0) else matrix.T
    alpha = float(view.attributes.get("alpha", 1.0))
    weight = weight if alpha == 1.0 else weight * alpha
    out = weight.shape[0]
    bias = np.zeros(out)
    if addend is not None:
        if (
            addend.ndim > 2
            or (addend.ndim == 2 and addend.shape[0] != 1)
            or addend.shape[-1:] not in ((), (1,), (out,))
        ):
            return Refused("its addend is not one row")
        bias = np.broadcast_to(addend.reshape(-1), (out,)) * float(view.attributes.get("beta", 1.0))
    return Chain(0, (Dense(1, weight, bias),))
