"""Read a model file, or say in one line why not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from onnx_nepenthe.errors import NepentheError, UnreadableError, UnsupportedError
from onnx_nepenthe.graph.functions import check_functions
from onnx_nepenthe.graph.mapping import map_weights, remember_origin, stamp_of
from onnx_nepenthe.graph.structure import check_structure, cycle_in
from onnx_nepenthe.graph.weights import check_weights

PathLike = str | os.PathLike[str]
LARGEST_BYTES = (1 << 31) - 1
LONGEST_MESSAGE = 1000
_HEADS = (
    (b"PK\x03\x04", "a zip archive, such as a PyTorch or Keras file; export it with torch.onnx.export"),
    (b"\x80\x02", "a Python pickle, such as an old PyTorch file; export it with torch.onnx.export"),
    (b"version https://git-lfs", "a Git LFS pointer; run `git lfs pull` to fetch the model itself"),
    (b"<!doctype html", "a web page; download the file itself, not the page about it"),
    (b"<html", "a web page; download the file itself, not the page about it"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"\x89hdf", "an HDF5 (Keras) file; convert it with tf2onnx"),
    (b"gguf", "a GGUF file; it holds weights without a graph"),
    (b"{", "JSON; convert it with onnx.load(path, format='json')"),
    (b"ir_version", "ONNX as text; convert it with onnx.load(path, format='textproto')"),
    (b"<", "text or XML; an ONNX model is a binary file"),
)
_TAGS_AT_4 = (
    (b"TFL3", "a TensorFlow Lite model; convert it with tf2onnx"),
    (b"ORTM", "an onnxruntime .ort file; give the .onnx file it was made from"),
)


def load(path: PathLike) -> ir.Model:
    """The model in the file, its nodes in topological order; large external data are mapped, not read.

    Raises:
        UnreadableError: nothing there, not ONNX, damaged, or not well formed; the message begins with `path`.
        UnsupportedError: ONNX that this tool cannot take without changing what it means.
    """
    file = Path(path).absolute()
    with named(path):
        stamp = stamp_of(file)
        model = model_from_proto(read_proto(file), file.parent)
        remember_origin(model, file, stamp, map_weights(model))
        return model


def model_from_proto(proto: onnx.ModelProto, folder: Path | None = None) -> ir.Model:
    """The same model as onnx_ir; `proto` is not changed and shares its weights.

    Args:
        proto: the model, external data not loaded.
        folder: where its external data are; None when it can have none.

    Raises:
        UnreadableError, UnsupportedError: as `load`, without a path in the message.
    """
    check_structure(proto)
    check_functions(proto)
    check_weights(proto, folder)
    try:
        model = ir.from_proto(proto)
    except Exception as error:  # onnx_ir wraps and raises whatever its many readers meet
        root = _root(error)
        kind = UnsupportedError if isinstance(root, NotImplementedError) else UnreadableError
        raise kind(f"cannot be read by onnx_ir: {_first_line(root)}") from error
    if folder is not None:
        for graph in (model.graph, *(function.graph for function in model.functions.values())):
            ir.external_data.set_base_dir(graph, str(folder))
    if "ai.onnx" in model.opset_imports:
        # Another name of the default domain; onnx_ir renames it in nodes only.
        model.opset_imports.setdefault("", model.opset_imports.pop("ai.onnx"))
    _sort(model.graph)
    for function in model.functions.values():
        _sort(function)
    return model


def read_proto(path: PathLike) -> onnx.ModelProto:
    """The bytes of the file as a ModelProto; external data are not read.

    Raises:
        UnreadableError: no file, or not protobuf.
    """
    try:
        _refuse_endless(os.stat(path))
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise UnreadableError("there is no such file") from None
    except IsADirectoryError:
        raise UnreadableError("is a folder; give the .onnx file in it") from None
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}") from error
    if not data:
        raise UnreadableError("is empty")
    _refuse_other_formats(data[:64])
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        raise UnreadableError("is not an ONNX model, or is damaged or cut short (protobuf cannot parse it)") from None
    return proto


def _refuse_endless(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise UnreadableError("is a device or a pipe; give a file")
    if found.st_size > LARGEST_BYTES:
        raise UnreadableError("is larger than 2 GiB, where protobuf ends, so it is no ONNX model")


@contextmanager
def named(path: PathLike) -> Iterator[None]:
    """Put the path in front of what goes wrong inside, in one line whatever a damaged file calls its values."""
    try:
        yield
    except NepentheError as error:
        text = "".join(char if char.isprintable() else "?" for char in _shortened(f"{os.fspath(path)}: {error}"))
        raise type(error)(text) from error


def _shortened(text: str) -> str:
    """The text without its middle: names in a damaged file may have any length."""
    if len(text) <= LONGEST_MESSAGE:
        return text
    return f"{text[: LONGEST_MESSAGE * 2 // 3]} … {text[-LONGEST_MESSAGE // 3 :]}"


def _refuse_other_formats(head: bytes) -> None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for start, what in _HEADS:
        if head.startswith(start) or text.startswith(start):
            raise UnreadableError(f"is {what}")
    for tag, what in _TAGS_AT_4:
        if head[4:8] == tag:
            raise UnreadableError(f"is {what}")
    if head[8:10] == b'{"':
        raise UnreadableError("is a safetensors file; it holds weights without a graph")


def _sort(graph: ir.Graph | ir.Function) -> None:
    try:
        graph.sort()
    except ValueError:
        name = cycle_in(graph)
        raise UnreadableError("the graph has a cycle" + (f": '{name}' depends on itself" if name else "")) from None


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
