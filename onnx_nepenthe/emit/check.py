"""Which forms can be written as operators that the model's opset and runtimes have."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import AffineMap, Conv, Dense, PerChannel, SpatialMean
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.emit.write import is_flat, layout
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.opview import Shape

FIRST_CONSTANT_OF_SHAPE = 9
UNCOMMON = {
    "double": frozenset({"Conv", "ConvTranspose", "GlobalAveragePool"}),
    "bfloat16": frozenset({"Conv", "ConvTranspose", "GlobalAveragePool", "BatchNormalization"}),
}
"""Operators that onnxruntime (or ONNX, before some opset) lacks for a type."""
LARGEST = {"float16": 65504.0, "bfloat16": 3.38e38, "float": 3.4e38}
"""Numbers above are infinite in that type: two scales of 300 are one of 90,000."""


@dataclass(frozen=True)
class Dialect:
    """What a model is written in.

    Attributes:
        opset: version of the default domain.
        present: (operator type, ONNX type of its result) of every operator.
    """

    opset: int
    present: frozenset[tuple[str, str]]


def dialect_of(view: GraphView) -> Dialect:
    """The dialect of a graph."""
    present = {(op.op_type, view.tensors[op.key].dtype) for op in view.ops if op.key in view.tensors}
    return Dialect(view.opsets.get("", 1), frozenset(present))


def is_emittable(form: Form, dtype: str, dialect: Dialect) -> bool:
    """Whether `emit` can write the form as a value of type `dtype`, so that what runs the model can still run it."""
    if _largest_number(form.core) > LARGEST.get(dtype, math.inf):
        return False
    worker = _worker(form)
    if worker in UNCOMMON.get(dtype, ()) and (worker, dtype) not in dialect.present:
        return False
    if (
        dialect.opset < FIRST_CONSTANT_OF_SHAPE
        and isinstance(form.core, Conv)
        and _has_open_border(form.core, form.source)
    ):
        return False
    core = form.core.then if isinstance(form.core, SpatialMean) else form.core
    rank = len(form.source)
    if isinstance(core, Dense) and core.axis not in (1, rank - 1, rank - 2):
        return False
    if isinstance(core, Dense) and rank < 2:
        return False
    return layout(form) is not None


def _largest_number(core: AffineMap) -> float:
    match core:
        case SpatialMean(then=then):
            return _largest_number(then)
        case PerChannel(scale=scale, offset=offset):
            arrays = [scale, offset]
        case Dense(weight=weight, bias=bias) | TransposedConv(weight=weight, bias=bias):
            arrays = [weight, bias]
        case Conv(weight=weight, bias=bias, border=border):
            arrays = [weight, bias, *([] if border is None else [border])]
    return max(float(np.abs(array).max(initial=0.0)) for array in arrays)


def _worker(form: Form) -> str:
    """The operator that does the work."""
    match form.core:
        case SpatialMean():
            return "GlobalAveragePool"
        case Conv():
            return "MatMul" if is_flat(form) else "Conv"
        case TransposedConv():
            return "ConvTranspose"
        case Dense(axis=axis):
            return "Conv" if axis == 1 and len(form.source) > 2 else "MatMul"
        case PerChannel(axis=axis):
            return "BatchNormalization" if axis == 1 else "Add"


def _has_open_border(m: Conv, shape: Shape) -> bool:
    """Whether the border is a convolution over ones, for want of sizes."""
    return m.border is not None and not all(isinstance(size, int) for size in shape[2:])
