"""Clip: nothing below one bound and above another (ReLU6, Hardtanh)."""

from __future__ import annotations

import math

import numpy as np

from onnx_nepenthe.activations.base import ACTIVATIONS, Activation, Line
from onnx_nepenthe.activations.parameters import numbers
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import OpView

BOUNDS_AS_INPUTS = 11
NO_BOUND = float(np.finfo(np.float32).max)
"""The attributes' default magnitude before opset 11: it stands for no bound at all."""


def clip_bounds(view: OpView) -> tuple[float, float] | Refused:
    """`(low, high)`, infinite where a bound is absent.

    Attributes before opset 11, inputs after; `min(max(z, low), high)`.
    """
    bounds = _attributes(view) if view.version < BOUNDS_AS_INPUTS else _inputs(view)
    if isinstance(bounds, Refused):
        return bounds
    low, high = bounds
    if math.isnan(low) or math.isnan(high) or low == math.inf or high == -math.inf:
        return Refused(f"its bounds {low:g} and {high:g} leave no finite value")
    return bounds


@ACTIVATIONS.register("Clip")
def clip(view: OpView) -> Activation | Refused:
    """A line between two constants.

    With low > high everything is high, in the standard (opset 13), in `onnx.reference` and in onnxruntime;
    with attributes onnxruntime refuses such a model, and so do we.

    Source: https://onnx.ai/onnx/operators/onnx__Clip.html.
    """
    bounds = clip_bounds(view)
    if isinstance(bounds, Refused):
        return bounds
    low, high = bounds
    if low >= high:
        return Activation(knots=(), lines=((0.0, high),))
    knots = tuple(bound for bound in bounds if math.isfinite(bound))
    below: tuple[Line, ...] = ((0.0, low),) if math.isfinite(low) else ()
    above: tuple[Line, ...] = ((0.0, high),) if math.isfinite(high) else ()
    return Activation(knots=knots, lines=(*below, (1.0, 0.0), *above))


def _attributes(view: OpView) -> tuple[float, float] | Refused:
    low, high = float(view.attributes.get("min", -math.inf)), float(view.attributes.get("max", math.inf))
    low = -math.inf if low <= -NO_BOUND else low
    high = math.inf if high >= NO_BOUND else high
    if low > high:
        return Refused(f"min {low:g} is above max {high:g}", "onnxruntime does not load such a model; swap the bounds")
    return low, high


def _inputs(view: OpView) -> tuple[float, float] | Refused:
    found: list[float] = []
    for index, absent in ((1, -math.inf), (2, math.inf)):
        values = numbers(view.constant(index))
        if not view.has_input(index):
            found.append(absent)
        elif values is None or values.size != 1:
            return Refused("a bound is not one constant number")
        else:
            found.append(float(values.flat[0]))
    return found[0], found[1]
