"""HardSigmoid: a line clipped to [0, 1]."""

from __future__ import annotations

import numpy as np

from onnx_nepenthe.activations.base import ACTIVATIONS, Activation
from onnx_nepenthe.opview import OpView


def hard_sigmoid_line(view: OpView) -> tuple[float, float]:
    """`(alpha, beta)` of the line that is clipped."""
    # The default 0.2 is the float32 next to it, which is what runtimes compute with.
    return float(view.attributes.get("alpha", np.float32(0.2))), float(view.attributes.get("beta", 0.5))


@ACTIVATIONS.register("HardSigmoid")
def hard_sigmoid(view: OpView) -> Activation:
    """`max(0, min(1, alpha z + beta))`: https://onnx.ai/onnx/operators/onnx__HardSigmoid.html."""
    alpha, beta = hard_sigmoid_line(view)
    if alpha == 0:
        return Activation(knots=(), lines=((0.0, min(1.0, max(0.0, beta))),))
    zero, one = -beta / alpha, (1 - beta) / alpha
    if alpha < 0:
        return Activation(knots=(one, zero), lines=((0.0, 1.0), (alpha, beta), (0.0, 0.0)))
    return Activation(knots=(zero, one), lines=((0.0, 0.0), (alpha, beta), (0.0, 1.0)))
