"""Compare the values of a tensor with knots inside a graph, exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.reductions import DOUBLE, FLOAT

FloatArray = npt.NDArray[np.float64]


def comparable(editor: Editor, value: ir.Value, dtype: str) -> tuple[ir.Value, str]:
    """z in a type that every comparison and reduction takes and that holds it exactly."""
    if dtype in ("float", "double"):
        if value.dtype is None:
            value.type = ir.TensorType(FLOAT if dtype == "float" else DOUBLE)
        return value, dtype
    wide = DOUBLE if dtype == "" else FLOAT
    cast = editor.node("Cast", [value], {"to": int(wide)}, hint=value.name or "z")
    cast.type = ir.TensorType(wide)
    return cast, wide.name.lower()


def bounds_of_knot(knot: FloatArray, trailing: int, dtype: str) -> tuple[FloatArray, FloatArray]:
    """The largest number of `dtype` <= knot and the smallest >= knot, shaped to broadcast.

    Comparing z with them is comparing it with the knot itself, also when `dtype` cannot hold the knot:
    z > knot if and only if z > floor, z < knot if and only if z < ceiling.
    """
    shaped = knot.reshape(()) if knot.size == 1 else knot.reshape(-1, *[1] * trailing)
    if dtype == "double":
        return shaped, shaped
    with np.errstate(over="ignore"):
        near = shaped.astype(np.float32)
    down, up = np.float32(-np.inf), np.float32(np.inf)
    floor = np.where(near > shaped, np.nextafter(near, down), near)
    ceiling = np.where(near < shaped, np.nextafter(near, up), near)
    return floor.astype(np.float64), ceiling.astype(np.float64)


def is_number(editor: Editor, z: ir.Value, dtype: str, hint: str) -> ir.Value:
    """False for NaN alone: everything else is above -1 or below 1 (IsNaN came with opset 9)."""
    above = editor.node("Greater", [z, editor.constant("knot", -1.0, dtype)], hint=hint)
    below = editor.node("Less", [z, editor.constant("knot", 1.0, dtype)], hint=hint)
    return editor.node("Or", [above, below], hint=hint)
