"""Concat of values."""

from __future__ import annotations

from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.base import FLOATS, READERS, Chain, Reading, Stack, known_axis
from onnx_nepenthe.opview import OpView


@READERS.register("Concat")
def concat(view: OpView) -> Reading | Refused | None:
    """https://onnx.ai/onnx/operators/onnx__Concat.html."""
    first = view.input(0)
    if first is None or first.dtype not in FLOATS:
        return None
    if len(view.inputs) == 1:
        return Chain(0, ())
    if any(operand is None or operand.constant is not None for operand in view.inputs):
        return Refused("a constant is among its operands")
    axis = known_axis(int(view.attributes.get("axis", 1)), first.rank)
    return axis if isinstance(axis, Refused) else Stack(tuple(range(len(view.inputs))), axis)
