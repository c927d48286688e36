"""Relu: nothing below zero."""

from onnx_nepenthe.activations.base import ACTIVATIONS, Activation
from onnx_nepenthe.opview import OpView


@ACTIVATIONS.register("Relu")
def relu(view: OpView) -> Activation:
    """https://onnx.ai/onnx/operators/onnx__Relu.html."""
    return Activation(knots=(0.0,), lines=((0.0, 0.0), (1.0, 0.0)))
