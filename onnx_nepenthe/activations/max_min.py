"""Max and Min of one value and constants: a one-sided Clip, perhaps per channel."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.activations.base import ACTIVATIONS, Activation
from onnx_nepenthe.activations.parameters import channel_constant, numbers
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.opview import OpView

FloatArray = npt.NDArray[np.float64]


def _bound(
    view: OpView, fold: Callable[[FloatArray, FloatArray], FloatArray], idle: float, lines: Callable[..., Activation]
) -> Activation | Refused | None:
    """`lines(bound, axis)`; None unless exactly one operand is free. A bound of `idle` does nothing."""
    operands = [operand for operand in view.inputs if operand is not None]
    free = [operand for operand in operands if operand.constant is None]
    if len(free) != 1:
        return None
    arrays = [numbers(operand.constant) for operand in operands if operand.constant is not None]
    if any(array is None for array in arrays):
        return Refused("its constant holds no numbers")
    if not arrays:
        return Activation(knots=(), lines=((1.0, 0.0),))
    found = channel_constant(functools.reduce(fold, [a for a in arrays if a is not None]), free[0].shape)
    if isinstance(found, Refused):
        return found
    bound, axis = found
    if np.all(np.asarray(bound) == idle):
        return Activation(knots=(), lines=((1.0, 0.0),))
    if not np.all(np.isfinite(bound)):
        return Refused("its constant is not finite")
    return lines(bound, axis)


@ACTIVATIONS.register("Max")
def maximum(view: OpView) -> Activation | Refused | None:
    """`max(z, c)`, operands in any order: https://onnx.ai/onnx/operators/onnx__Max.html."""
    return _bound(view, np.maximum, -np.inf, lambda c, axis: Activation((c,), lines=((0.0, c), (1.0, 0.0)), axis=axis))


@ACTIVATIONS.register("Min")
def minimum(view: OpView) -> Activation | Refused | None:
    """`min(z, c)`, operands in any order: https://onnx.ai/onnx/operators/onnx__Min.html."""
    return _bound(view, np.minimum, np.inf, lambda c, axis: Activation((c,), lines=((1.0, 0.0), (0.0, c)), axis=axis))
