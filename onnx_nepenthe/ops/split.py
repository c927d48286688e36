"""Split: the parts of a value along one axis."""

from __future__ import annotations

from itertools import accumulate, pairwise

from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.base import FLOATS, READERS, Reading, Select, known_axis
from onnx_nepenthe.opview import OpView

_SIZES_AS_INPUT = 13


@READERS.register("Split")
def split(view: OpView) -> Reading | Refused | None:
    """Sizes are an attribute before opset 13 and an input since: https://onnx.ai/onnx/operators/onnx__Split.html."""
    operand = view.input(0)
    if operand is None or operand.dtype not in FLOATS:
        return None
    axis = known_axis(int(view.attributes.get("axis", 0)), operand.rank)
    if isinstance(axis, Refused):
        return axis
    size = operand.shape[axis] if operand.shape is not None else None
    if not isinstance(size, int):
        return Refused("it splits an axis of unknown size")
    sizes = view.attributes.get("split")
    if view.version >= _SIZES_AS_INPUT and view.has_input(1):
        given = view.constant(1)
        if given is None:
            return Refused("the sizes of its parts are not constant")
        sizes = given.tolist()
    if sizes is None:
        part = -(-size // len(view.outputs))
        sizes = [min(part, size - part * i) for i in range(len(view.outputs))]
    if len(sizes) != len(view.outputs) or sum(sizes) != size or min(sizes) < 1:
        return Refused("the sizes of its parts do not fit its operand")
    return Select(0, axis, tuple(pairwise(accumulate(sizes, initial=0))))
