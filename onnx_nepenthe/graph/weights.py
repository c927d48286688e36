"""Stored tensors of a model file: which there are, and whether their data are all there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
import onnx_ir as ir

from onnx_nepenthe.errors import UnreadableError, UnsupportedError
from onnx_nepenthe.graph.structure import subgraphs_of

_TYPED_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
_COMPLEX = (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128)
_FIELD_OF = {
    ir.DataType.FLOAT: "float_data",
    ir.DataType.COMPLEX64: "float_data",
    ir.DataType.DOUBLE: "double_data",
    ir.DataType.COMPLEX128: "double_data",
    ir.DataType.INT64: "int64_data",
    ir.DataType.UINT64: "uint64_data",
    ir.DataType.UINT32: "uint64_data",
}
"""Every other type is in int32_data."""


def tensors_of(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor: initializers and attributes, of the graph, its subgraphs and functions."""
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
    for body in subgraphs_of(node):
        yield from _graph_tensors(body)


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether the data are in another file."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def check_weights(proto: onnx.ModelProto, folder: Path | None) -> None:
    """Return when every tensor has as many data as its shape says; no data are read.

    Args:
        proto: the model.
        folder: where its data files must be; None for a model that has no file.

    Raises:
        UnreadableError: data are missing, cut short or outside `folder`.
        UnsupportedError: data files, but no folder.
    """
    for tensor in tensors_of(proto):
        if any(size < 0 for size in tensor.dims):
            raise UnreadableError(f"weight '{tensor.name}' has a negative size {list(tensor.dims)}")
        try:
            dtype = ir.DataType(tensor.data_type)
        except ValueError:
            dtype = ir.DataType.UNDEFINED
        if dtype == ir.DataType.UNDEFINED:
            raise UnreadableError(f"weight '{tensor.name}' is of the unknown type {tensor.data_type}")
        if is_external(tensor):
            _check_external(tensor, dtype, folder)
        elif not _is_complete(tensor, dtype):
            raise UnreadableError(f"weight '{tensor.name}' {list(tensor.dims)} has missing or surplus data; damaged?")


def external_entry(tensor: onnx.TensorProto) -> tuple[str, int, int | None]:
    """Location, offset and length (None: to the end of what the shape needs) of external data.

    Raises:
        UnreadableError: the entry makes no sense.
    """
    entry = {item.key: item.value for item in tensor.external_data}
    location = entry.get("location", "")
    try:
        offset = int(entry.get("offset") or 0)
        length = int(entry["length"]) if entry.get("length") else None
    except ValueError:
        offset, length = -1, None
    if not location or offset < 0 or (length is not None and length < 0):
        raise UnreadableError(f"weight '{tensor.name}' has a damaged reference to external data")
    return location, offset, length


def size_bytes(tensor: onnx.TensorProto, dtype: ir.DataType) -> int:
    """Bytes that the shape needs."""
    bits: int = math.prod(tensor.dims) * dtype.bitwidth
    return -(-bits // 8)


def _check_external(tensor: onnx.TensorProto, dtype: ir.DataType, folder: Path | None) -> None:
    location, offset, length = external_entry(tensor)
    if folder is None:
        raise UnsupportedError(
            f"weight '{tensor.name}' is in the file '{location}'; give the path of the model, or load it with its data"
        )
    if dtype == ir.DataType.STRING:
        raise UnreadableError(f"weight '{tensor.name}' holds strings and cannot be in the file '{location}'")
    file = _file_inside(folder, location, tensor.name)
    needed = size_bytes(tensor, dtype)
    if length is not None and length != needed:
        raise UnreadableError(f"weight '{tensor.name}' needs {needed} bytes, its reference says {length}")
    if offset + needed > file.stat().st_size:
        raise UnreadableError(
            f"'{location}' ends before the weight '{tensor.name}' does ({offset + needed} bytes needed, "
            f"{file.stat().st_size} there); the file is cut short"
        )


def _file_inside(folder: Path, location: str, name: str) -> Path:
    """The data file; a model may not make us read anything outside its own folder."""
    path = PurePosixPath(location)
    if path.is_absolute() or PureWindowsPath(location).is_absolute() or ".." in path.parts:
        raise UnreadableError(f"weight '{name}' is in '{location}', outside the model's folder; refused")
    file = folder / location
    if not _is_file(file):
        raise UnreadableError(f"the file '{location}' with the weight '{name}' is missing; put it beside the model")
    if not file.resolve().is_relative_to(folder.resolve()):
        raise UnreadableError(f"'{location}' is a link out of the model's folder; put a copy of the file there")
    if file.stat().st_nlink > 1:
        raise UnreadableError(f"'{location}' is a hard link; put a copy of the file there")
    return file


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        # A name that is too long, or has a null byte in it.
        return False


def _is_complete(tensor: onnx.TensorProto, dtype: ir.DataType) -> bool:
    elements: int = math.prod(tensor.dims)
    if dtype == ir.DataType.STRING:
        return len(tensor.string_data) == elements
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data) == size_bytes(tensor, dtype)
    stored = len(getattr(tensor, _FIELD_OF.get(dtype, "int32_data")))
    if stored != sum(len(getattr(tensor, field)) for field in _TYPED_FIELDS):
        return False
    if dtype.bitwidth < 8:
        # Older writers store one, newer ones two values in an int32.
        return stored in (elements, size_bytes(tensor, dtype))
    return stored == elements * (2 if dtype in _COMPLEX else 1)
