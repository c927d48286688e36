"""LeakyRelu: a small slope below zero."""

from onnx_nepenthe.activations.base import ACTIVATIONS, Activation
from onnx_nepenthe.opview import OpView


@ACTIVATIONS.register("LeakyRelu")
def leaky_relu(view: OpView) -> Activation:
    """Default slope 0.01: https://onnx.ai/onnx/operators/onnx__LeakyRelu.html."""
    alpha = float(view.attributes.get("alpha", 0.01))
    return Activation(knots=(0.0,), lines=((alpha, 0.0), (1.0, 0.0)))
