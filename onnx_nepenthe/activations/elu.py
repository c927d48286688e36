"""Elu: exponential below zero, exactly the identity above."""

from __future__ import annotations

from onnx_nepenthe.activations.base import ACTIVATIONS, Activation
from onnx_nepenthe.activations.tails import LOGISTIC
from onnx_nepenthe.opview import OpView


@ACTIVATIONS.register("Elu")
def elu(view: OpView) -> Activation:
    """`alpha (exp(z) - 1)` for z < 0: https://onnx.ai/onnx/operators/onnx__Elu.html.

    The left tail -alpha is asymptotic, within 2**-24 of it (relatively) from the knot on.
    """
    alpha = float(view.attributes.get("alpha", 1.0))
    if alpha == 0:
        return Activation(knots=(0.0,), lines=((0.0, 0.0), (1.0, 0.0)))
    return Activation(knots=(-LOGISTIC, 0.0), lines=((0.0, -alpha), None, (1.0, 0.0)), asymptotic=frozenset({0}))
