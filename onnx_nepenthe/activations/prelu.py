"""PRelu: a learned slope below zero, one for all channels or one per channel."""

from __future__ import annotations

import numpy as np

from onnx_nepenthe.activations.base import ACTIVATIONS, Activation
from onnx_nepenthe.activations.parameters import channel_constant, numbers
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import OpView

NUMPY_BROADCAST = 7
"""Opset from which the slope broadcasts to the right; before, (C,) meant axis 1."""


@ACTIVATIONS.register("PRelu")
def prelu(view: OpView) -> Activation | Refused:
    """The slope's axis follows from one-way broadcasting: https://onnx.ai/onnx/operators/onnx__PRelu.html."""
    slope, operand = numbers(view.constant(1)), view.input(0)
    if slope is None or operand is None:
        return Refused("its slope is not a constant")
    if view.version < NUMPY_BROADCAST and slope.size > 1:
        return Refused("a slope per channel before opset 7", "convert the model to opset 7 or later")
    found = channel_constant(slope, operand.shape, one_way=True)
    if isinstance(found, Refused):
        return found
    value, axis = found
    if not np.all(np.isfinite(value)):
        return Refused("its slope is not finite")
    return Activation(knots=(0.0,), lines=((value, 0.0), (1.0, 0.0)), axis=axis)
