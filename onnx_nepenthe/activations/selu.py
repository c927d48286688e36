"""Selu: a scaled Elu."""

from __future__ import annotations

from onnx_nepenthe.activations.base import ACTIVATIONS, Activation
from onnx_nepenthe.activations.tails import LOGISTIC
from onnx_nepenthe.opview import OpView

LONG_DEFAULTS = 6
"""Opset from which the defaults have more than five digits."""


@ACTIVATIONS.register("Selu")
def selu(view: OpView) -> Activation:
    """`gamma (alpha exp(z) - alpha)` for z <= 0, else `gamma z`: https://onnx.ai/onnx/operators/onnx__Selu.html."""
    default = (
        (1.67326319217681884765625, 1.05070102214813232421875) if view.version >= LONG_DEFAULTS else (1.6732, 1.0507)
    )
    alpha = float(view.attributes.get("alpha", default[0]))
    gamma = float(view.attributes.get("gamma", default[1]))
    return Activation(
        knots=(-LOGISTIC, 0.0), lines=((0.0, -gamma * alpha), None, (gamma, 0.0)), asymptotic=frozenset({0})
    )
