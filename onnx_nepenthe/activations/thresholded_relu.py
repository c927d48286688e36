"""ThresholdedRelu: nothing up to a threshold, the identity above it."""

from onnx_nepenthe.activations.base import ACTIVATIONS, Activation
from onnx_nepenthe.opview import OpView


@ACTIVATIONS.register("ThresholdedRelu")
def thresholded_relu(view: OpView) -> Activation:
    """Jumps at alpha, which itself gives 0: https://onnx.ai/onnx/operators/onnx__ThresholdedRelu.html."""
    alpha = float(view.attributes.get("alpha", 1.0))
    return Activation(knots=(alpha,), lines=((0.0, 0.0), (1.0, 0.0)), knot_above=(False,))
