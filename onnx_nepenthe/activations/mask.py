"""z * Cast(z > t): a Relu written as a mask."""

from __future__ import annotations

from onnx_nepenthe.activations.base import PATTERNS, Activation, Match
from onnx_nepenthe.activations.comparison import comparison
from onnx_nepenthe.activations.pattern import gates
from onnx_nepenthe.opview import OpView

FLOAT_TYPES = frozenset({1, 10, 11, 16})
"""TensorProto element types float, float16, double, bfloat16."""


@PATTERNS.register("Mask")
def mask(view: OpView) -> Match | None:
    """`z * Cast(z > t)`, any comparison, either order; it jumps at t unless t is 0."""
    for gate in gates(view, "Cast"):
        switch = comparison(gate.core.input(0))
        if switch is None or switch.x.name != gate.x.name or gate.core.attributes.get("to") not in FLOAT_TYPES:
            continue
        true, false = (gate.scale + gate.shift, 0.0), (gate.shift, 0.0)
        lines = (false, true) if switch.true_above else (true, false)
        return Match(Activation((switch.threshold,), lines, knot_above=(switch.knot_above,)), gate.x, "Mask")
    return None
