"""Abs: the sign is dropped."""

from onnx_nepenthe.activations.base import ACTIVATIONS, Activation
from onnx_nepenthe.opview import OpView


@ACTIVATIONS.register("Abs")
def absolute(view: OpView) -> Activation:
    """https://onnx.ai/onnx/operators/onnx__Abs.html."""
    return Activation(knots=(0.0,), lines=((-1.0, 0.0), (1.0, 0.0)))
