"""Ask ONNX itself what is wrong with a model."""

from __future__ import annotations

import onnx
import onnx_ir as ir

SMALLEST_LEFT_OUT_BYTES = 1000
"""Larger weights become inputs: only shapes are checked."""


def why_invalid(model: ir.Model) -> str | None:
    """What strict shape and type inference says against `model`, in one line; None when it finds nothing."""
    copy = model.clone()
    known = {id(value) for value in copy.graph.inputs}
    for name, value in list(copy.graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.nbytes <= SMALLEST_LEFT_OUT_BYTES:
            continue
        value.shape, value.dtype = ir.Shape(tensor.shape.numpy()), tensor.dtype
        del copy.graph.initializers[name]
        value.const_value = None
        if id(value) not in known:
            copy.graph.inputs.append(value)
    try:
        onnx.shape_inference.infer_shapes(ir.to_proto(copy), check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # onnx raises several types
        return " ".join(str(error).split())[:300] or type(error).__name__
    return None
