"""Slice along one axis with step 1."""

from __future__ import annotations

from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.base import FLOATS, READERS, Chain, Reading, Select, known_axis
from onnx_nepenthe.opview import OpView

_BOUNDS_AS_INPUTS = 10


@READERS.register("Slice")
def slice_(view: OpView) -> Reading | Refused | None:
    """Attributes before opset 10, inputs since: https://onnx.ai/onnx/operators/onnx__Slice.html."""
    operand = view.input(0)
    if operand is None or operand.dtype not in FLOATS:
        return None
    bounds = _bounds(view)
    if isinstance(bounds, Refused):
        return bounds
    starts, ends, axes, steps = bounds
    if len(axes) != 1 or steps != [1] or len(starts) != 1 or len(ends) != 1:
        return Refused("it slices several axes or with a step")
    axis = known_axis(axes[0], operand.rank)
    if isinstance(axis, Refused):
        return axis
    size = operand.shape[axis] if operand.shape is not None else None
    if not isinstance(size, int):
        return Refused("it slices an axis of unknown size")
    start, stop, _ = slice(starts[0], ends[0]).indices(size)
    if start >= stop:
        return Refused("its result is empty")
    if (start, stop) == (0, size):
        return Chain(0, ())
    return Select(0, axis, ((start, stop),))


def _bounds(view: OpView) -> tuple[list[int], list[int], list[int], list[int]] | Refused:
    if view.version < _BOUNDS_AS_INPUTS:
        starts = list(view.attributes["starts"])
        return starts, list(view.attributes["ends"]), list(view.attributes.get("axes") or range(len(starts))), [1]
    lists: list[list[int] | None] = []
    for position in (1, 2, 3, 4):
        if not view.has_input(position):
            lists.append(None)
            continue
        given = view.constant(position)
        if given is None:
            return Refused("its bounds are not constant")
        lists.append([int(i) for i in given.reshape(-1)])
    starts, ends = lists[0] or [], lists[1] or []
    return starts, ends, lists[2] or list(range(len(starts))), lists[3] or [1] * len(starts)
