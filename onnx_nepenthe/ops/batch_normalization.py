"""BatchNormalization in inference: a line per channel."""

from __future__ import annotations

import numpy as np

from onnx_nepenthe.affine.maps import PerChannel
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.base import NOT_CONSTANT, OLDEST_VERSION, READERS, TOO_OLD, Chain, Reading
from onnx_nepenthe.opview import OpView

_SPATIAL_REMOVED = 9


@READERS.register("BatchNormalization")
def batch_normalization(view: OpView) -> Reading | Refused | None:
    """Opset 7 and later, the node's own epsilon: https://onnx.ai/onnx/operators/onnx__BatchNormalization.html."""
    if view.version < OLDEST_VERSION:
        return TOO_OLD
    if view.attributes.get("training_mode", 0) or any(view.outputs[1:]):
        return Refused("it is in training mode")
    if view.version < _SPATIAL_REMOVED and not view.attributes.get("spatial", 1):
        return Refused("it normalises every position on its own (spatial=0)")
    numbers = [view.constant_float64(i) for i in range(1, 5)]
    if any(number is None for number in numbers):
        return NOT_CONSTANT
    operand = view.input(0)
    if operand is None or operand.rank is None or operand.rank < 2:
        return Refused("the rank of its operand is below 2 or unknown")
    gamma, beta, average, variance = (n.reshape(-1) for n in numbers if n is not None)
    epsilon = float(view.attributes.get("epsilon", 1e-5))
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + epsilon)
    return Chain(0, (PerChannel(1, scale, beta - average * scale),))
