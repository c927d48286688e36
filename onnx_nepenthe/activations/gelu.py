"""Gelu: z times the normal distribution function, exact or by tanh."""

from __future__ import annotations

import math

from onnx_nepenthe.activations.base import ACTIVATIONS, PATTERNS, Activation, Match
from onnx_nepenthe.activations.pattern import LITERAL, gates
from onnx_nepenthe.activations.tails import GELU, GELU_TANH
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import OpView

CUBIC = 0.044715


def _gelu(tail: float) -> Activation:
    return Activation(knots=(-tail, tail), lines=((0.0, 0.0), None, (1.0, 0.0)), asymptotic=frozenset({0, 2}))


@ACTIVATIONS.register("Gelu")
def gelu(view: OpView) -> Activation | Refused:
    """Both tails are asymptotic: https://onnx.ai/onnx/operators/onnx__Gelu.html."""
    form = view.attributes.get("approximate", "none")
    form = form.decode() if isinstance(form, bytes) else form
    if form not in ("none", "tanh"):
        return Refused(f"approximate is {form!r}, neither 'none' nor 'tanh'")
    return _gelu(GELU if form == "none" else GELU_TANH)


@ACTIVATIONS.register("com.microsoft::Gelu")
def microsoft_gelu(view: OpView) -> Activation:
    """The exact form, as onnxruntime's optimiser writes it."""
    return _gelu(GELU)


@ACTIVATIONS.register("com.microsoft::FastGelu")
def fast_gelu(view: OpView) -> Activation | Refused:
    """The tanh form; an optional second operand is a bias inside it."""
    if view.has_input(1):
        return Refused("FastGelu with a bias", "export the model without onnxruntime's transformer optimiser")
    return _gelu(GELU_TANH)


@PATTERNS.register("Gelu(erf)")
def gelu_erf(view: OpView) -> Match | None:
    """`0.5 z (1 + erf(z / sqrt(2)))`, the factors in any order."""
    for gate in gates(view, "Erf"):
        if gate.is_scaled(0.5, 0.5) and gate.has_argument(0, math.sqrt(0.5), tolerance=LITERAL):
            return Match(_gelu(GELU), gate.x, "Gelu(erf)")
    return None


@PATTERNS.register("Gelu(tanh)")
def gelu_tanh(view: OpView) -> Match | None:
    """`0.5 z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3)))`, the factors in any order, the cube in any spelling."""
    slope = math.sqrt(2 / math.pi)
    for gate in gates(view, "Tanh"):
        if gate.is_scaled(0.5, 0.5) and gate.has_argument(0, slope, 0, slope * CUBIC, tolerance=LITERAL):
            return Match(_gelu(GELU_TANH), gate.x, "Gelu(tanh)")
    return None
