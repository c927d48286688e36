"""Models as bytes or files that a runtime can load."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnx_nepenthe.graph.external import write_with_data
from onnx_nepenthe.graph.mapping import Mapped

Model = ir.Model
"""The model type, for modules that may not import onnx_ir."""
LARGEST_MESSAGE_BYTES = 3 << 29
"""1.5 GiB: above it, weights go to a file of their own (protobuf stops at 2 GiB)."""
NO_WEIGHTS = "none"
"""Name of the empty file that the weights of `without_weights` are said to be in."""
SMALLEST_LENT_BYTES = 1024
"""Smaller tensors stay in the message: shapes and axes must be readable in it."""
_LENT = frozenset(
    {"FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64"}
)
"""Types that numpy holds as onnxruntime does."""


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
    return _in_one_piece(self_contained_nodes(model))


def _in_one_piece(copy: ir.Model, keep: Collection[str] = ()) -> bytes:
    """Serialise; weights are read into `copy` but those of the main graph that `keep` names."""
    for graph in copy.graphs():
        for name, value in graph.initializers.items():
            kept = graph is copy.graph and name in keep
            if isinstance(value.const_value, ir.ExternalTensor) and not kept:
                value.const_value = in_memory(value.const_value)
    message: bytes = ir.to_proto(copy).SerializeToString()
    return message


def without_weights(model: ir.Model) -> tuple[bytes, dict[str, npt.NDArray[Any]]]:
    """The serialised model with the weights of the main graph left out, and those weights where they lie."""
    copy = self_contained_nodes(model)
    lent: dict[str, npt.NDArray[Any]] = {}
    for name, value in copy.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.dtype.name not in _LENT or tensor.nbytes < SMALLEST_LENT_BYTES:
            continue
        lent[name] = tensor.numpy()
        shape = ir.Shape(tensor.shape.numpy())
        value.const_value = ir.ExternalTensor(NO_WEIGHTS, 0, tensor.nbytes, tensor.dtype, shape=shape, name=name)
    return _in_one_piece(copy, keep=lent), lent


def save_for_runtime(model: ir.Model, folder: Path) -> Path:
    """Write the model and, beside it, its weights into `folder`; return the model's path."""
    path = folder / "model.onnx"
    write_with_data(self_contained_nodes(model), path, folder / "weights.bin")
    return path


def page_out(model: ir.Model) -> None:
    """Let the system take back the memory in which weights of `model` are mapped; they are read again when needed."""
    tensors = (value.const_value for graph in model.graphs() for value in graph.initializers.values())
    for file in {tensor.file for tensor in tensors if isinstance(tensor, Mapped)}:
        file.page_out()


def digest(model: ir.Model) -> str:
    """SHA-256, in hex, of structure and weights; the same wherever the weights are kept."""
    found = hashlib.sha256()
    copy = self_contained_nodes(model)
    for name, value in copy.graph.initializers.items():
        if value.const_value is not None:
            found.update(f"{name} {value.const_value.dtype} {value.const_value.shape}".encode())
            found.update(_bytes_of(value.const_value))
    copy.graph.initializers.clear()
    found.update(ir.to_proto(copy).SerializeToString(deterministic=True))
    return found.hexdigest()


def _bytes_of(tensor: ir.TensorProtocol) -> Any:
    """Its bytes, copied only where it has none of its own."""
    is_plain = tensor.dtype.name in _LENT and sys.byteorder == "little"
    return np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data if is_plain else tensor.tobytes()


def self_contained_nodes(model: ir.Model) -> ir.Model:
    """A copy whose Constant nodes hold their tensors; without the model's path nothing could find their files."""
    copy = model.clone()
    for node in chain(copy.graph.all_nodes(), *(function.all_nodes() for function in copy.functions.values())):
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                node.attributes[name] = ir.AttrTensor(name, in_memory(attribute.value))
    return copy


def in_memory(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    """The same numbers; onnx_ir's own conversion closes the file, which fails while anybody has a view of it."""
    return ir.Tensor(tensor.numpy(), name=tensor.name, dtype=tensor.dtype)


def has_rank(model: ir.Model | Path, name: str) -> bool:
    """Whether the input or output `name` states a shape (onnxruntime shows a scalar and an unknown rank alike)."""
    graph = (model if isinstance(model, ir.Model) else ir.load(model)).graph
    return any(value.name == name and value.shape is not None for value in (*graph.inputs, *graph.outputs))
