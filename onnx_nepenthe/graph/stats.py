"""How large and how deep a model is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.opview import OpView, Shape, Tensor

_FLOATS = ("float", "float16", "bfloat16", "double")
_ITEM_BYTES = {
    **dict.fromkeys(("double", "int64", "uint64", "complex64"), 8),
    **dict.fromkeys(("float", "int32", "uint32"), 4),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
}


@dataclass(frozen=True)
class ModelSize:
    """Counts over the main graph; bodies of subgraphs and functions are not entered.

    Attributes:
        nodes: operators.
        parameters: elements of the weights of float type that an operator, a subgraph or an output uses.
        weight_bytes: bytes of all weights so used, of whatever type (a byte each below 8 bits).
        weighted_depth: most weighted operators (Conv, ConvTranspose, Gemm, MatMul by a constant) on one path.
        macs: multiply-adds of the weighted operators; None when a size among them is not known.
        macs_unknown: weighted operators whose multiply-adds are not known.
    """

    nodes: int
    parameters: int
    weight_bytes: int
    weighted_depth: int
    macs: int | None
    macs_unknown: int


def model_size(view: GraphView, dims: Mapping[str, int] | None = None) -> ModelSize:
    """Measure `view`.

    Args:
        view: the graph.
        dims: sizes to take for symbolic axes, by name ({"batch": 1}).
    """
    weights = [tensor for tensor in view.tensors.values() if _is_stored(view, tensor) and _is_used(view, tensor.name)]
    macs = [_macs(op, dims or {}) for op in view.ops if is_weighted(op)]
    unknown = sum(count is None for count in macs)
    return ModelSize(
        nodes=len(view.ops),
        parameters=sum(_elements(tensor) for tensor in weights if tensor.dtype in _FLOATS),
        weight_bytes=sum(_elements(tensor) * _ITEM_BYTES.get(tensor.dtype, 1) for tensor in weights),
        weighted_depth=_weighted_depth(view),
        macs=None if unknown else sum(count or 0 for count in macs),
        macs_unknown=unknown,
    )


def is_weighted(op: OpView) -> bool:
    """Whether the operator mixes channels by weights (of the default domain; quantised weights count)."""
    if op.domain:
        return False
    match op.op_type:
        case "Conv" | "ConvTranspose" | "Gemm":
            return True
        case "MatMul":
            return any(_is_weight(operand) for operand in op.inputs)
    return False


def _is_weight(tensor: Tensor | None) -> bool:
    if tensor is None:
        return False
    if tensor.constant is not None:
        return True
    producer = tensor.producer
    return producer is not None and producer.op_type == "DequantizeLinear" and producer.constant(0) is not None


def _is_stored(view: GraphView, tensor: Tensor) -> bool:
    """Initializers and Constant nodes; what Identity, Reshape … make of them is not stored again."""
    if tensor.name in view.overridable:
        return True
    return tensor.constant is not None and (tensor.producer is None or tensor.producer.op_type == "Constant")


def _elements(tensor: Tensor) -> int:
    if tensor.constant is not None:
        return int(tensor.constant.size)
    return math.prod(size for size in tensor.shape or () if isinstance(size, int))


def _is_used(view: GraphView, name: str) -> bool:
    return name in view.consumers or view.is_pinned(name)


def _weighted_depth(view: GraphView) -> int:
    depth: dict[str, int] = {}
    for op in view.ops:
        before = max((depth.get(operand.name, 0) for operand in op.inputs if operand is not None), default=0)
        depth.update(dict.fromkeys(op.outputs, before + is_weighted(op)))
    return max(depth.values(), default=0)


def _macs(op: OpView, dims: Mapping[str, int]) -> int | None:
    data, weight = op.input(0), op.input(1)
    if data is None or weight is None:
        return None
    match op.op_type:
        case "Conv":
            shape, kernel = op.output_shapes[0], weight.shape
            each = None if kernel is None else _product(kernel[1:], dims)
        case "ConvTranspose":
            shape, kernel = data.shape, weight.shape
            each = None if kernel is None else _product(kernel[1:], dims)
        case "Gemm":
            shape = op.output_shapes[0]
            each = _inner(data, 0 if op.attributes.get("transA", 0) else 1, dims)
        case _:
            shape = op.output_shapes[0]
            each = _inner(data, -1, dims)
            if each is None:
                each = _inner(weight, -2 if (weight.rank or 0) > 1 else -1, dims)
    total = None if shape is None else _product(shape, dims)
    return None if total is None or each is None else total * each


def _inner(tensor: Tensor, axis: int, dims: Mapping[str, int]) -> int | None:
    """Size of the axis that is summed over."""
    return None if not tensor.shape else _product((tensor.shape[axis],), dims)


def _product(shape: Shape, dims: Mapping[str, int]) -> int | None:
    sizes = [dims.get(size) if isinstance(size, str) else size for size in shape]
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None
