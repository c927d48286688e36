"""Gelu: z times the normal distribution function, exact or by tanh."""

from __future__ import annotations

import math

from onnx_nepenthe.activations.base import ACTIVATIONS, PATTERNS, Activation, Match
from onnx_nepenthe.activations.pattern import LITERAL, Gate, gates
from onnx_nepenthe.activations.tails import GELU, GELU_TANH
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import OpView

CUBIC = 0.044715


def _gelu(tail: float, factor: float = 1.0) -> Activation:
    return Activation(knots=(-tail, tail), lines=((0.0, 0.0), None, (factor, 0.0)), asymptotic=frozenset({0, 2}))


def _factor(gate: Gate) -> float | None:
    """1 for `z (1/2 + core/2)`, 2 where the half went into another operator; None for anything else."""
    return next((factor for factor in (1.0, 2.0) if gate.is_scaled(factor / 2, factor / 2)), None)


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
    """`0.5 z (1 + erf(z / sqrt(2)))`, the factors in any order, or twice that."""
    for gate in gates(view, "Erf"):
        factor = _factor(gate)
        if factor is not None and gate.has_argument(0, math.sqrt(0.5), tolerance=LITERAL):
            return Match(_gelu(GELU, factor), gate.x, "Gelu(erf)")
    return None


@PATTERNS.register("Gelu(tanh)")
def gelu_tanh(view: OpView) -> Match | None:
    """`0.5 z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3)))`, or twice that, the cube in any spelling."""
    slope = math.sqrt(2 / math.pi)
    for gate in gates(view, "Tanh"):
        factor = _factor(gate)
        if factor is not None and gate.has_argument(0, slope, 0, slope * CUBIC, tolerance=LITERAL):
            return Match(_gelu(GELU_TANH, factor), gate.x, "Gelu(tanh)")
    return None
