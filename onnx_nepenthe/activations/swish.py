"""Swish: z times the sigmoid of alpha z (SiLU with alpha 1, QuickGELU with alpha 1.702)."""

from __future__ import annotations

from onnx_nepenthe.activations.base import ACTIVATIONS, PATTERNS, Activation, Match
from onnx_nepenthe.activations.pattern import LITERAL, gates, is_close, polynomial
from onnx_nepenthe.activations.tails import LOGISTIC
from onnx_nepenthe.opview import OpView

QUICK_GELU = 1.702


def _swish(alpha: float) -> Activation:
    """Both tails are asymptotic; with alpha = 0 half of z is left."""
    if alpha == 0:
        return Activation(knots=(), lines=((0.5, 0.0),))
    tail = LOGISTIC / abs(alpha)
    off, on = (0.0, 0.0), (1.0, 0.0)
    lines = (off, None, on) if alpha > 0 else (on, None, off)
    return Activation(knots=(-tail, tail), lines=lines, asymptotic=frozenset({0, 2}))


@ACTIVATIONS.register("Swish")
def swish(view: OpView) -> Activation:
    """Opset 24: https://onnx.ai/onnx/operators/onnx__Swish.html."""
    return _swish(float(view.attributes.get("alpha", 1.0)))


@ACTIVATIONS.register("com.microsoft::QuickGelu")
def quick_gelu(view: OpView) -> Activation:
    """`z * Sigmoid(alpha z)`, alpha 1.702 unless stated; onnxruntime's optimiser writes SiLU so too."""
    return _swish(float(view.attributes.get("alpha", QUICK_GELU)))


@PATTERNS.register("Swish")
def swish_pattern(view: OpView) -> Match | None:
    """`z * Sigmoid(alpha z)`, which is also how torch exports SiLU."""
    for gate in gates(view, "Sigmoid"):
        argument = polynomial(gate.core.input(0), gate.x)
        if gate.is_scaled(1, 0) and argument is not None and len(argument) == 2 and argument[0] == 0:
            return Match(_swish(argument[1]), gate.x, _name(argument[1]))
    return None


def _name(alpha: float) -> str:
    if is_close(alpha, 1):
        return "Silu"
    return "QuickGelu" if is_close(alpha, QUICK_GELU, LITERAL) else "Swish"
