"""Softplus: a smooth Relu, as one operator or switched to the identity where exp would overflow."""

from __future__ import annotations

from onnx_nepenthe.activations.base import ACTIVATIONS, PATTERNS, Activation, Match
from onnx_nepenthe.activations.comparison import comparison
from onnx_nepenthe.activations.pattern import is_close, polynomial, source, unwrap
from onnx_nepenthe.activations.tails import LOGISTIC
from onnx_nepenthe.opview import OpView


@ACTIVATIONS.register("Softplus")
def softplus(view: OpView) -> Activation:
    """`ln(exp(z) + 1)`; both tails are asymptotic: https://onnx.ai/onnx/operators/onnx__Softplus.html."""
    return Activation(knots=(-LOGISTIC, LOGISTIC), lines=((0.0, 0.0), None, (1.0, 0.0)), asymptotic=frozenset({0, 2}))


@PATTERNS.register("Softplus·Greater·Where")
def switched_softplus(view: OpView) -> Match | None:
    """`Where(beta z > t, z, Softplus(beta z) / beta)`, torch's export: above t / beta exactly the identity."""
    if view.domain or view.op_type != "Where":
        return None
    switch = comparison(view.input(0))
    if switch is None:
        return None
    line, curve = (view.input(1), view.input(2)) if switch.true_above else (view.input(2), view.input(1))
    found = unwrap(curve, "Softplus")
    if line is None or line.constant is not None or found is None:
        return None
    z = source(line)
    core, scale, shift = found
    argument, compared = polynomial(core.input(0), z), polynomial(switch.x, z)
    if argument is None or len(argument) != 2 or argument[0] != 0 or argument[1] <= 0 or compared != argument:
        return None
    beta, threshold = argument[1], switch.threshold / argument[1]
    if not is_close(scale * beta, 1) or shift != 0 or threshold <= -LOGISTIC / beta:
        return None
    activation = Activation(
        knots=(-LOGISTIC / beta, threshold),
        lines=((0.0, 0.0), None, (1.0, 0.0)),
        asymptotic=frozenset({0}),
        knot_above=(False, switch.knot_above),
    )
    return Match(activation, z, "Softplus")
