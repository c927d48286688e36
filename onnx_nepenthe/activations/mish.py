"""Mish: z times the tanh of its softplus."""

from __future__ import annotations

from onnx_nepenthe.activations.base import ACTIVATIONS, PATTERNS, Activation, Match
from onnx_nepenthe.activations.pattern import Gate, gates, made_by
from onnx_nepenthe.activations.softplus import switched_softplus
from onnx_nepenthe.activations.tails import LOGISTIC, MISH
from onnx_nepenthe.opview import OpView


def _mish() -> Activation:
    return Activation(knots=(-LOGISTIC, MISH), lines=((0.0, 0.0), None, (1.0, 0.0)), asymptotic=frozenset({0, 2}))


@ACTIVATIONS.register("Mish")
def mish(view: OpView) -> Activation:
    """`z tanh(ln(exp(z) + 1))`; both tails are asymptotic: https://onnx.ai/onnx/operators/onnx__Mish.html."""
    return _mish()


@PATTERNS.register("Mish")
def mish_pattern(view: OpView) -> Match | None:
    """`z * Tanh(Softplus(z))`, the softplus in either of its spellings."""
    for gate in gates(view, "Tanh"):
        if gate.is_scaled(1, 0) and _is_softplus_of_z(gate):
            return Match(_mish(), gate.x, "Mish")
    return None


def _is_softplus_of_z(gate: Gate) -> bool:
    inner = made_by(gate.core.input(0), "Softplus", "Where")
    if inner is None:
        return False
    if inner.op_type == "Softplus":
        return Gate(gate.x, inner, 1, 0).has_argument(0, 1)
    switched = switched_softplus(inner)
    # Below the right tail of Mish the switch would be visible; beta other than 1 would show in the left knot.
    return (
        switched is not None
        and switched.operand.name == gate.x.name
        and switched.activation.knots[0] == -LOGISTIC
        and float(switched.activation.knots[1]) >= MISH
    )
