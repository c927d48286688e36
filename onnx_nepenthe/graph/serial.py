"""Models as bytes or files that a runtime can load."""

from __future__ import annotations

import hashlib
from itertools import chain
from pathlib import Path

import onnx_ir as ir

Model = ir.Model
"""The model type, for modules that may not import onnx_ir."""
LARGEST_MESSAGE_BYTES = 3 << 29
"""1.5 GiB: above it, weights go to a file of their own (protobuf stops at 2 GiB)."""
_SMALLEST_EXTERNAL_BYTES = 1024


def weight_bytes(model: ir.Model) -> int:
    """Size of all initializers, subgraphs included."""
    return sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )


def to_bytes(model: ir.Model) -> bytes:
    """The serialised model, weights inside even where the model keeps them in another file.

    Raises:
        ValueError: it has more than `LARGEST_MESSAGE_BYTES` of weights; use `save_for_runtime`.
    """
    size = weight_bytes(model)
    if size > LARGEST_MESSAGE_BYTES:
        raise ValueError(f"{size} bytes of weights do not fit into one message")
    copy = _self_contained_nodes(model)
    for graph in copy.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = _in_memory(value.const_value)
    message: bytes = ir.to_proto(copy).SerializeToString()
    return message


def save_for_runtime(model: ir.Model, folder: Path) -> Path:
    """Write the model and, beside it, its weights into `folder`; return the model's path."""
    path = folder / "model.onnx"
    copy = _self_contained_nodes(model)
    ir.save(copy, path, external_data="weights.bin", size_threshold_bytes=_SMALLEST_EXTERNAL_BYTES)
    return path


def digest(model: ir.Model) -> str:
    """SHA-256, in hex, of structure and weights; the same wherever the weights are kept."""
    found = hashlib.sha256()
    copy = _self_contained_nodes(model)
    for name, value in copy.graph.initializers.items():
        if value.const_value is not None:
            found.update(f"{name} {value.const_value.dtype} {value.const_value.shape}".encode())
            found.update(value.const_value.tobytes())
    copy.graph.initializers.clear()
    found.update(ir.to_proto(copy).SerializeToString(deterministic=True))
    return found.hexdigest()


def _self_contained_nodes(model: ir.Model) -> ir.Model:
    """A copy whose Constant nodes hold their tensors; without the model's path nothing could find their files."""
    copy = model.clone()
    for node in chain(copy.graph.all_nodes(), *(function.all_nodes() for function in copy.functions.values())):
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                node.attributes[name] = ir.AttrTensor(name, _in_memory(attribute.value))
    return copy


def _in_memory(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    """The same numbers; onnx_ir's own conversion closes the file, which fails while anybody has a view of it."""
    return ir.Tensor(tensor.numpy(), name=tensor.name, dtype=tensor.dtype)


def has_rank(model: ir.Model | Path, name: str) -> bool:
    """Whether the input or output `name` states a shape (onnxruntime shows a scalar and an unknown rank alike)."""
    graph = (model if isinstance(model, ir.Model) else ir.load(model)).graph
    return any(value.name == name and value.shape is not None for value in (*graph.inputs, *graph.outputs))
