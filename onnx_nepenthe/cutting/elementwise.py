"""Operators that work element by element: every lane stays where it is, constants are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.cutting.lanes import VARIES, FloatArray, Lanes, least_seen
from onnx_nepenthe.cutting.trace import TRANSFERS, Trace
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.graph.folding import evaluate_constants
from onnx_nepenthe.ops.base import FLOATS
from onnx_nepenthe.opview import OpView, Tensor

UNARY = (
    *("Abs", "Celu", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Neg", "Not"),
    *("Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu"),
)
BROADCAST = (
    *("Add", "And", "Cast", "Clip", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max"),
    *("Min", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where"),
)
"""Operators whose constant operands may hold a number per channel."""
_TYPES: dict[str, type[np.generic]] = {"bool": np.bool_, "int64": np.int64, "int32": np.int32}


@TRANSFERS.register(*UNARY, *BROADCAST)
def elementwise(op: OpView, state: Trace) -> Lanes | Refused | None:
    """Lanes of several operands are tied; a value that is not followed may only be broadcast along them."""
    every = [state.of(operand) for operand in op.inputs]
    first = next((lanes for lanes in every if lanes is not None), None)
    shape = op.output_shapes[0]
    if first is None:
        return None
    if shape is None:
        return Refused("its shape is not known")
    back = _from_back(next(t for t in op.inputs if state.of(t) is first), first)
    for operand, lanes in zip(op.inputs, every, strict=True):
        refusal = _refusal(operand, lanes, back, len(first))
        if refusal is not None:
            return refusal
        if lanes is not None:
            state.classes.tie(first.classes, lanes.classes)
    constants = _evaluated(op, every, back, state)
    seen = least_seen(*(lanes.seen for lanes in every if lanes is not None))
    result = Lanes(len(shape) - back, first.classes, constants, np.where(np.isnan(constants), 0, seen))
    _note(op, every, result, state)
    return result


def _from_back(operand: Tensor | None, lanes: Lanes) -> int:
    """Position of the lanes' axis counted from the right, as broadcasting counts; at least 1."""
    return (0 if operand is None or operand.rank is None else operand.rank) - lanes.axis


def _refusal(operand: Tensor | None, lanes: Lanes | None, back: int, count: int) -> Refused | None:
    if operand is None:
        return None
    if lanes is not None:
        aligned = _from_back(operand, lanes) == back and len(lanes) == count
        return None if aligned else Refused("its operands have their channels on different axes")
    if operand.shape is None:
        return Refused("the shape of one operand is not known")
    size = operand.shape[-back] if back <= len(operand.shape) else 1
    if size == 1 or (operand.constant is not None and size == count):
        return None
    return Refused("it meets a value whose channels have to stay")


def _evaluated(op: OpView, every: Sequence[Lanes | None], back: int, state: Trace) -> FloatArray:
    """float64 (n,): the result wherever all operands are constant."""
    traced = [lanes for lanes in every if lanes is not None]
    count = len(traced[0])
    alive = np.full(count, VARIES)
    known = np.logical_and.reduce([lanes.is_constant for lanes in traced])
    if not known.any():
        return alive
    operands: list[Tensor | None] = []
    for operand, lanes in zip(op.inputs, every, strict=True):
        numbers = _numbers(operand, lanes, back, count)
        if operand is not None and numbers is None:
            return alive
        operands.append(
            None if operand is None else replace(operand, constant=_typed(numbers, operand), shape=(count,))
        )
    dtype = state.view.tensors[op.outputs[0]].dtype
    dtype = "double" if dtype in FLOATS and op.op_type != "Cast" else dtype
    results = evaluate_constants(replace(op, inputs=tuple(operands), output_shapes=((count,),), key=op.key), [dtype])
    if results is None:
        return alive
    numbers = results[0].astype(np.float64)
    return np.where(known & np.isfinite(numbers), numbers, VARIES)


def _numbers(operand: Tensor | None, lanes: Lanes | None, back: int, count: int) -> FloatArray | None:
    """float64 (n,) or (): one number per lane; None where there is none."""
    if lanes is not None:
        return np.where(lanes.is_constant, lanes.constants, 0.0)
    if operand is None or operand.constant is None:
        return None
    constant = np.asarray(operand.constant, np.float64)
    if constant.size == 1:
        return constant.reshape(())
    if back > constant.ndim or constant.shape[-back] != count:
        return None
    by_lane = np.moveaxis(constant, -back, 0).reshape(count, -1)
    return by_lane[:, 0] if (by_lane == by_lane[:, :1]).all() else None


def _typed(numbers: FloatArray | None, operand: Tensor) -> npt.NDArray[Any] | None:
    return None if numbers is None else np.asarray(numbers.astype(_TYPES.get(operand.dtype, np.float64)))


def _note(op: OpView, every: Sequence[Lanes | None], result: Lanes, state: Trace) -> None:
    """Remember where a constant met something that varies: that is why it has to stay."""
    for lanes in every:
        if lanes is not None:
            lost = result.classes[lanes.is_constant & ~result.is_constant]
            for root in np.unique(state.classes.roots(lost)).tolist():
                state.notes.setdefault(root, f"{op.label} ({op.op_type}) combines it with values that vary")
