"""Celu: an Elu whose slope is continuous at zero."""

from __future__ import annotations

from onnx_nepenthe.activations.base import ACTIVATIONS, Activation
from onnx_nepenthe.activations.tails import LOGISTIC
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import OpView


@ACTIVATIONS.register("Celu")
def celu(view: OpView) -> Activation | Refused:
    """`alpha (exp(z / alpha) - 1)` for z < 0: https://onnx.ai/onnx/operators/onnx__Celu.html."""
    alpha = float(view.attributes.get("alpha", 1.0))
    if alpha <= 0:
        return Refused(f"alpha is {alpha:g}; only a positive alpha has two tails")
    return Activation(
        knots=(-LOGISTIC * alpha, 0.0), lines=((0.0, -alpha), None, (1.0, 0.0)), asymptotic=frozenset({0})
    )
