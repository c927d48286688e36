"""HardSwish: the identity faded in between -3 and 3; both ends are exact lines."""

from __future__ import annotations

import math

from onnx_nepenthe.activations.base import ACTIVATIONS, PATTERNS, Activation, Match
from onnx_nepenthe.activations.clip import clip_bounds
from onnx_nepenthe.activations.hard_sigmoid import hard_sigmoid_line
from onnx_nepenthe.activations.parameters import scalar
from onnx_nepenthe.activations.pattern import Gate, gates, is_close, made_by, polynomial
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import OpView, Tensor


def _hard_swish(off: float, on: float) -> Activation:
    return Activation(knots=(off, on), lines=((0.0, 0.0), None, (1.0, 0.0)))


@ACTIVATIONS.register("HardSwish")
def hard_swish(view: OpView) -> Activation:
    """`z * max(0, min(1, z / 6 + 0.5))`: https://onnx.ai/onnx/operators/onnx__HardSwish.html."""
    return _hard_swish(-3.0, 3.0)


@PATTERNS.register("HardSwish")
def hard_swish_pattern(view: OpView) -> Match | None:
    """`z * HardSigmoid(z)` and `z * clip(z + 3, 0, 6) / 6`, in any order of the factors."""
    for gate in gates(view, "HardSigmoid", "Clip", "Min", "Max"):
        found = _from_hard_sigmoid(gate) if gate.core.op_type == "HardSigmoid" else _from_clip(gate)
        if found is not None:
            return Match(found, gate.x, "HardSwish")
    return None


def _from_hard_sigmoid(gate: Gate) -> Activation | None:
    alpha, beta = hard_sigmoid_line(gate.core)
    if alpha <= 0 or not (gate.is_scaled(1, 0) and gate.has_argument(0, 1)):
        return None
    return _hard_swish(-beta / alpha, (1 - beta) / alpha)


def _from_clip(gate: Gate) -> Activation | None:
    found = _clipped(gate.core)
    if found is None or gate.shift != 0:
        return None
    inner, low, high = found
    line = polynomial(inner, gate.x)
    if line is None or len(line) != 2 or line[1] <= 0 or low != 0 or not is_close(gate.scale * high, 1):
        return None
    return _hard_swish((low - line[0]) / line[1], (high - line[0]) / line[1])


def _clipped(core: OpView) -> tuple[Tensor, float, float] | None:
    """`(u, low, high)` with core = clip(u, low, high), written as Clip or as Max, Relu and Min."""
    if core.op_type == "Clip":
        bounds, operand = clip_bounds(core), core.input(0)
        if isinstance(bounds, Refused) or operand is None:
            return None
        low, high = bounds
    else:
        outer = _bound(core)
        inner = None if outer is None else _bound(made_by(outer[0], "Max", "Min", "Relu"))
        if outer is None or inner is None:
            return None
        operand, low, high = inner[0], max(outer[1], inner[1]), min(outer[2], inner[2])
    return (operand, low, high) if math.isfinite(low) and math.isfinite(high) and low < high else None


def _bound(view: OpView | None) -> tuple[Tensor, float, float] | None:
    """`(u, low, high)` of one Max, Min or Relu; one of the bounds is infinite."""
    operands = [] if view is None else [operand for operand in view.inputs if operand is not None]
    free = [operand for operand in operands if operand.constant is None]
    if view is None or len(free) != 1:
        return None
    if view.op_type == "Relu":
        return free[0], 0.0, math.inf
    numbers = [scalar(operand, free[0].shape) for operand in operands if operand.constant is not None]
    if len(numbers) != 1 or numbers[0] is None:
        return None
    return (free[0], numbers[0], math.inf) if view.op_type == "Max" else (free[0], -math.inf, numbers[0])
