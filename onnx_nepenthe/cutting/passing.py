"""Operators that hand lanes on: they move axes, pool over space, stack or rescale channels."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from onnx_nepenthe.affine.maps import PerChannel
from onnx_nepenthe.cutting.lanes import NEEDS_NO_DATA, VARIES, Lanes
from onnx_nepenthe.cutting.trace import TRANSFERS, Trace
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops import READERS
from onnx_nepenthe.ops.base import Chain, known_axis
from onnx_nepenthe.ops.padding import window
from onnx_nepenthe.opview import OpView, Shape

_SPATIAL = Refused("its channels are not on axis 1")
_MOVED = Refused("it does not keep channels in one piece")


@TRANSFERS.register("Identity", "Dropout")
def unchanged(op: OpView, state: Trace) -> Lanes | Refused | None:
    """As the operator's reader says: Dropout may be in training mode. Nothing uses its mask, or `trace` refused it."""
    reading = READERS[op.op_type](replace(op, outputs=op.outputs[:1], output_shapes=op.output_shapes[:1], key=op.key))
    return reading if isinstance(reading, Refused) else state.of(op.input(0))


@TRANSFERS.register("BatchNormalization")
def batch_normalization(op: OpView, state: Trace) -> Lanes | Refused | None:
    """A line per channel."""
    lanes, reading = state.of(op.input(0)), READERS[op.op_type](op)
    if lanes is None or isinstance(reading, Refused):
        return reading if isinstance(reading, Refused) else None
    line = reading.steps[0] if isinstance(reading, Chain) else None
    if lanes.axis != 1 or not isinstance(line, PerChannel) or line.scale.size != len(lanes):
        return _SPATIAL
    constants = line.scale * lanes.constants + line.offset
    return replace(lanes, constants=np.where(np.isfinite(constants), constants, VARIES))


@TRANSFERS.register("MaxPool", "GlobalMaxPool", "GlobalAveragePool")
def pooled(op: OpView, state: Trace) -> Lanes | Refused | None:
    """The largest and the mean of equal numbers are that number; MaxPool does not see its padding."""
    lanes = state.of(op.input(0))
    if lanes is None or lanes.axis != 1:
        return _SPATIAL if lanes is not None else None
    return lanes if _is_plain(op) else _varying(lanes)


@TRANSFERS.register("AveragePool")
def average_pool(op: OpView, state: Trace) -> Lanes | Refused | None:
    """Constants stay where the padding is left out of the mean; otherwise only zeros do."""
    lanes = state.of(op.input(0))
    if lanes is None or lanes.axis != 1:
        return _SPATIAL if lanes is not None else None
    if not op.attributes.get("count_include_pad", 0):
        return lanes if _is_plain(op) else _varying(lanes)
    geometry = window(op, tuple(int(k) for k in op.attributes["kernel_shape"]))
    padded = isinstance(geometry, Refused) or any((*geometry.begins, *geometry.ends))
    return _zeros_only(lanes) if padded or op.attributes.get("ceil_mode", 0) else lanes


@TRANSFERS.register("ReduceMean", "ReduceMax", "ReduceMin")
def reduced(op: OpView, state: Trace) -> Lanes | Refused | None:
    """Over axes that hold no channels."""
    lanes, operand = state.of(op.input(0)), op.input(0)
    if lanes is None or operand is None or operand.rank is None:
        return None
    axes = op.attributes.get("axes")
    given = op.constant(1)
    if axes is None and given is not None:
        axes = given.reshape(-1).tolist()
    if not axes:
        return Refused("its axes are not known")
    gone = {int(axis) % operand.rank for axis in axes}
    if lanes.axis in gone:
        return Refused("it mixes channels")
    if op.attributes.get("keepdims", 1):
        return lanes
    return replace(lanes, axis=lanes.axis - sum(axis < lanes.axis for axis in gone))


@TRANSFERS.register("Concat")
def concat(op: OpView, state: Trace) -> Lanes | Refused | None:
    """Channels behind each other; those of values that are not followed stay."""
    every = [state.of(operand) for operand in op.inputs]
    if not any(every):
        return None
    axis = known_axis(int(op.attributes["axis"]), len(op.output_shapes[0] or ()) or None)
    parts: list[Lanes] = []
    for operand, lanes in zip(op.inputs, every, strict=True):
        size = None if operand is None or operand.shape is None or isinstance(axis, Refused) else operand.shape[axis]
        if isinstance(axis, Refused) or not isinstance(size, int) or (lanes is not None and lanes.axis != axis):
            return Refused("it stacks along another axis, or sizes are not known")
        parts.append(_others(size, axis, state) if lanes is None else lanes)
    return Lanes(
        parts[0].axis,
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.constants for part in parts]),
        np.concatenate([part.seen for part in parts]),
    )


def _others(size: int, axis: int, state: Trace) -> Lanes:
    """Lanes of a value that is not followed."""
    classes = state.classes.fresh(1)
    state.classes.keep(classes, "no layer makes it")
    return Lanes(axis, classes.repeat(size), np.full(size, VARIES), np.full(size, NEEDS_NO_DATA, np.int64))


@TRANSFERS.register("Transpose")
def transpose(op: OpView, state: Trace) -> Lanes | Refused | None:
    """https://onnx.ai/onnx/operators/onnx__Transpose.html."""
    lanes, operand = state.of(op.input(0)), op.input(0)
    if lanes is None or operand is None or operand.rank is None:
        return None
    perm = [int(axis) for axis in op.attributes.get("perm") or reversed(range(operand.rank))]
    return replace(lanes, axis=perm.index(lanes.axis))


@TRANSFERS.register("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def reshaped(op: OpView, state: Trace) -> Lanes | Refused | None:
    """Each lane becomes a run of neighbouring ones, one for every position that is merged with the channels."""
    lanes, operand, after = state.of(op.input(0)), op.input(0), op.output_shapes[0]
    if lanes is None or operand is None:
        return None
    if operand.shape is None or after is None:
        return Refused("its shapes are not known")
    if op.op_type == "Squeeze" and not op.attributes.get("axes") and not op.has_input(1):
        return Refused("it squeezes whatever has size 1")
    moved = moved_axis(operand.shape, after, lanes.axis)
    if moved is None:
        return _MOVED
    axis, run = moved
    if op.op_type == "Reshape" and new_target(op, lanes.axis, axis, len(lanes) * run) is None:
        return Refused("its target shape cannot follow")
    return lanes.repeat(run, axis)


def moved_axis(before: Shape, after: Shape, axis: int) -> tuple[int, int] | None:
    """(axis, entries per channel) that `axis` becomes in a reshape; None when its channels are torn apart.

    >>> moved_axis(("N", 4, 3, 3), ("N", 36), 1), moved_axis(("N", 4, "H", "W"), ("N", 4, None), 1)
    ((1, 9), (1, 1))
    """
    channels, behind = before[axis], _product(before[axis + 1 :])
    for at, size in enumerate(after):
        if not isinstance(size, int) or not isinstance(channels, int) or size % channels:
            continue
        run, rest = size // channels, _product(after[at + 1 :])
        if behind is not None and rest is not None and run * rest == behind:
            return at, run
        if run == 1 and _without_ones(before[:axis]) == _without_ones(after[:at]) and None not in before[:axis]:
            return at, 1
    return None


def new_target(op: OpView, before: int, after: int, size: int) -> list[int] | None:
    """The target shape of a Reshape whose channels move from axis `before` to `after`, where `size` is left of them.

    None when the shape is not constant, or would copy the number of channels elsewhere.
    """
    given = op.constant(1)
    if given is None or after >= given.size:
        return None
    target = [int(entry) for entry in given.reshape(-1)]
    copied = [axis for axis, entry in enumerate(target) if entry == 0]
    if (
        (copied and op.attributes.get("allowzero", 0))
        or (before in copied and before != after)
        or (after in copied and before != after)
    ):
        return None
    if target[after] > 0:
        target[after] = size
    return target


def _is_plain(op: OpView) -> bool:
    """Whether every window sees the input: one rounded up or with gaps may lie in the padding alone."""
    return not op.attributes.get("ceil_mode", 0) and set(op.attributes.get("dilations") or ()) <= {1}


def _varying(lanes: Lanes) -> Lanes:
    return replace(lanes, constants=np.full(len(lanes), VARIES))


def _zeros_only(lanes: Lanes) -> Lanes:
    return replace(lanes, constants=np.where(lanes.constants == 0, 0.0, VARIES))


def _product(sizes: Shape) -> int | None:
    numbers = [size for size in sizes if isinstance(size, int)]
    return prod(numbers) if len(numbers) == len(sizes) else None


def _without_ones(sizes: Shape) -> list[int | str | None]:
    return [size for size in sizes if size != 1]
