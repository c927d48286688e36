"""MatMul with a constant matrix on either side."""

from __future__ import annotations

import numpy as np

from onnx_nepenthe.affine.maps import Dense
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.base import FLOATS, READERS, Chain, Reading
from onnx_nepenthe.opview import OpView


@READERS.register("MatMul")
def matmul(view: OpView) -> Reading | Refused | None:
    """x @ W along the last axis, W @ x along the last but one; a product of two values is not affine.

    Source: https://onnx.ai/onnx/operators/onnx__MatMul.html (numpy.matmul).
    """
    for position in (0, 1):
        matrix, operand = view.constant_float64(1 - position), view.input(position)
        if matrix is None or operand is None:
            continue
        if operand.rank is None or operand.rank < 2:
            return Refused("the rank of its operand is below 2 or unknown")
        if matrix.ndim != 2 or operand.dtype not in FLOATS:
            return Refused("its constant is a batch of matrices or a vector")
        weight = matrix.T if position == 0 else matrix
        axis = operand.rank - 1 if position == 0 else operand.rank - 2
        return Chain(position, (Dense(axis, weight.copy(), np.zeros(weight.shape[0])),))
    return None
