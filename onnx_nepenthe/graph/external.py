"""Weights in a file of their own beside the model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import onnx
import onnx_ir as ir

from onnx_nepenthe.graph.mapping import Mapped
from onnx_nepenthe.graph.weights import external_entry, is_external, size_bytes, tensors_of

ALIGNMENT_BYTES = 4096
"""Runtimes map weights from disk by the page."""
SMALLEST_MOVED_BYTES = 1024
"""Smaller tensors stay in the model: shapes and axes must be readable without the data."""


def has_external_weights(model: ir.Model) -> bool:
    """Whether any weight is in another file."""
    return any(isinstance(value.const_value, ir.ExternalTensor) for value in _weights(model))


def external_files(model: ir.Model) -> list[Path]:
    """The files that the model's tensors are in."""
    tensors: list[object] = [value.const_value for value in _weights(model)]
    tensors += [tensor for _, _, tensor in _attribute_tensors(model)]
    paths = {tensor.path for tensor in tensors if isinstance(tensor, ir.ExternalTensor)}
    return [Path(path) for path in sorted(paths)]


def move_out(model: ir.Model, file: Path) -> None:
    """Write the weights of `model` to `file` and let them refer to it; small ones move into the model.

    Args:
        model: changed in place; its tensors are not.
        file: must not exist; the references hold its name without its folder.
    """
    with file.open("xb") as out:
        for value in _weights(model):
            tensor = value.const_value
            if tensor is None or tensor.dtype == ir.DataType.STRING:
                continue
            if tensor.nbytes < SMALLEST_MOVED_BYTES:
                value.const_value = _in_memory(tensor)
                continue
            offset = _align(out)
            _write(tensor, out)
            value.const_value = ir.ExternalTensor(
                file.name,
                offset,
                tensor.nbytes,
                tensor.dtype,
                shape=ir.Shape(tensor.shape.numpy()),
                name=tensor.name or value.name or "",
                doc_string=tensor.doc_string,
                metadata_props=dict(tensor.metadata_props),
                base_dir=file.parent,
            )
        out.flush()
        os.fsync(out.fileno())
    for node, name, tensor in list(_attribute_tensors(model)):
        if isinstance(tensor, ir.ExternalTensor):
            node.attributes[name] = ir.AttrTensor(name, _in_memory(tensor))


def write_with_data(model: ir.Model, path: Path, file: Path) -> None:
    """Write `model` to `path` and its weights to `file` beside it, for a reader that comes at once.

    Args:
        model: changed in place, as `move_out` does.
        path, file: must not exist.
    """
    move_out(model, file)
    path.write_bytes(ir.to_proto(model).SerializeToString())


def concatenate(proto: onnx.ModelProto, folder: Path, file: Path) -> bool:
    """Copy the data files of `proto` into the one `file` and let `proto` refer to it.

    Returns:
        False, with nothing written, when it has none.
    """
    tensors = [tensor for tensor in tensors_of(proto) if is_external(tensor)]
    if not tensors:
        return False
    starts: dict[str, int] = {}
    with file.open("xb") as out:
        for location in dict.fromkeys(external_entry(tensor)[0] for tensor in tensors):
            starts[location] = _align(out)
            with (folder / location).open("rb") as data:
                shutil.copyfileobj(data, out, 1 << 24)
        out.flush()
        os.fsync(out.fileno())
    for tensor in tensors:
        location, offset, length = external_entry(tensor)
        length = size_bytes(tensor, ir.DataType(tensor.data_type)) if length is None else length
        del tensor.external_data[:]
        for key, value in (("location", file.name), ("offset", starts[location] + offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
    return True


def _weights(model: ir.Model) -> Iterable[ir.Value]:
    for graph in model.graphs():
        yield from graph.initializers.values()


def _attribute_tensors(model: ir.Model) -> Iterator[tuple[ir.Node, str, ir.TensorProtocol]]:
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        for node in graph.all_nodes():
            for name, attribute in node.attributes.items():
                if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                    yield node, name, attribute.as_tensor()


def _write(tensor: ir.TensorProtocol, out: BinaryIO) -> None:
    if isinstance(tensor, Mapped):
        tensor.tofile(out)
    else:
        out.write(tensor.tobytes())


def _in_memory(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    if not isinstance(tensor, ir.ExternalTensor):
        return tensor
    return ir.Tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=tensor.name, doc_string=tensor.doc_string)


def _align(out: BinaryIO) -> int:
    out.write(b"\0" * (-out.tell() % ALIGNMENT_BYTES))
    return out.tell()
