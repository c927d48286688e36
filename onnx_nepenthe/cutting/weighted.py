"""Layers with weights: they end the lanes of their operand and begin new ones."""

from __future__ import annotations

import math

import numpy as np

from onnx_nepenthe.affine.forms import has_finite_numbers
from onnx_nepenthe.affine.maps import Conv, Dense
from onnx_nepenthe.cutting.lanes import NEEDS_NO_DATA, VARIES, BoolArray, FloatArray, IntArray, Lanes, least_seen
from onnx_nepenthe.cutting.trace import TRANSFERS, End, Trace
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops import READERS
from onnx_nepenthe.ops.base import FLOATS, NOT_CONSTANT, NOT_FINITE, Chain
from onnx_nepenthe.opview import OpView

OTHER_AXIS = Refused("it does not read along the channels")


@TRANSFERS.register("Conv", "Gemm", "MatMul")
def weighted(op: OpView, state: Trace) -> Lanes | Refused | None:
    """A filter is constant when each of its weights is zero or meets a constant; zeros as a sum are no zeros."""
    reading = READERS[op.op_type](op)
    if reading is None:
        return Refused("it multiplies two values") if any(map(state.of, op.inputs)) else None
    if isinstance(reading, Refused):
        return reading
    if not isinstance(reading, Chain) or len(reading.steps) != 1 or state.view.tensors[op.key].dtype not in FLOATS:
        return NOT_CONSTANT
    lanes, step = state.of(op.inputs[reading.operand]), reading.steps[0]
    if isinstance(step, Dense | Conv) and not has_finite_numbers(step):
        return NOT_FINITE
    match step:
        case Dense(axis=axis, weight=weight) as m:
            if lanes is not None and (lanes.axis != axis or len(lanes) != weight.shape[1]):
                return OTHER_AXIS
            return _mixed(op, state, lanes, m, absorbs=op.op_type == "Gemm", edged=False)
        case Conv() as m:
            if lanes is not None and (lanes.axis != 1 or len(lanes) != m.in_channels):
                return OTHER_AXIS
            if m.groups == 1:
                return _mixed(op, state, lanes, m, absorbs=not m.is_padded, edged=m.is_padded)
            if m.groups == m.in_channels:
                return _depthwise(op, state, lanes, m)
            return Refused("a grouped convolution")
    return NOT_CONSTANT


@TRANSFERS.register("ConvTranspose")
def transposed(op: OpView, state: Trace) -> Lanes | Refused | None:
    """Positions differ in the weights that reach them, so no constant but 0 is one constant afterwards."""
    weight, bias = op.constant_float64(1), op.constant_float64(2)
    if weight is None or (bias is None and op.has_input(2)) or state.view.tensors[op.key].dtype not in FLOATS:
        return NOT_CONSTANT
    if op.attributes.get("group", 1) != 1 or weight.ndim < 3:
        return Refused("a grouped convolution")
    lanes = state.of(op.inputs[0])
    if lanes is not None and (lanes.axis != 1 or len(lanes) != len(weight)):
        return OTHER_AXIS
    ones = (1,) * (weight.ndim - 2)
    offset = np.zeros(weight.shape[1]) if bias is None else bias.reshape(-1)
    m = Conv(weight.swapaxes(0, 1), offset, ones, ones, (0,) * len(ones), (0,) * len(ones))
    if not has_finite_numbers(m):
        return NOT_FINITE
    return _mixed(op, state, lanes, m, absorbs=False, edged=True)


def _mixed(op: OpView, state: Trace, lanes: Lanes | None, m: Dense | Conv, *, absorbs: bool, edged: bool) -> Lanes:
    """Every result reads every lane; `edged` when how often it does depends on the position."""
    taps = m.weight.reshape(*m.weight.shape[:2], math.prod(m.weight.shape[2:]))
    reads: BoolArray = np.asarray(taps.any(axis=2))
    if lanes is not None:
        state.ends.append(End(op.key, op.label, lanes, np.asarray(reads.any(axis=0)), absorbs))
    state.producers[op.outputs[0]] = op
    steady, numbers, seen = _steady(lanes, m.weight.shape[1], edged)
    constants = np.where((reads & ~steady).any(axis=1), VARIES, m.bias + taps.sum(axis=2) @ numbers)
    rests_on = np.zeros(len(constants), np.int64)
    for lane in np.flatnonzero(steady & (seen != NEEDS_NO_DATA)):
        rests_on = least_seen(rests_on, np.where(reads[:, lane], seen[lane], NEEDS_NO_DATA))
    axis = m.axis if isinstance(m, Dense) else 1
    return Lanes(axis, state.classes.fresh(len(constants)), _finite(constants), rests_on)


def _depthwise(op: OpView, state: Trace, lanes: Lanes | None, m: Conv) -> Lanes:
    """Each result reads one lane and goes with it."""
    filters = len(m.bias) // m.groups
    taps = m.weight.reshape(len(m.bias), math.prod(m.weight.shape[1:]))
    reads = taps.any(axis=1)
    steady, numbers, seen = _steady(lanes, m.groups, m.is_padded)
    steady, numbers, seen = steady.repeat(filters), numbers.repeat(filters), seen.repeat(filters)
    constants = np.where(reads & ~steady, VARIES, m.bias + taps.sum(axis=1) * numbers)
    state.producers[op.outputs[0]] = op
    if lanes is None:
        classes = state.classes.fresh(m.groups)
        state.classes.keep(classes, f"{op.label}: a depthwise convolution of channels that no layer makes")
    else:
        classes = lanes.classes
    rests_on = np.where(reads & steady, seen, NEEDS_NO_DATA)
    return Lanes(1, classes.repeat(filters), _finite(constants), rests_on)


def _steady(lanes: Lanes | None, count: int, padded: bool) -> tuple[BoolArray, FloatArray, IntArray]:
    """Which lanes add the same everywhere, what, and on which evidence; constants but 0 are missing beyond the edge."""
    if lanes is None:
        return np.zeros(count, np.bool_), np.zeros(count), np.zeros(count, np.int64)
    steady = lanes.is_constant & (not padded or lanes.constants == 0)
    return steady, np.where(steady, lanes.constants, 0.0), lanes.seen


def _finite(constants: FloatArray) -> FloatArray:
    return np.where(np.isfinite(constants), constants, VARIES)
