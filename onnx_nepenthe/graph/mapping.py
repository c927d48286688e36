"""Weights in files of their own: each file is opened once, and what it held then is what is used.

A file that is replaced while the run goes on changes nothing in it, and is noticed before anything is written.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from onnx_nepenthe.errors import UnreadableError

LARGEST_READ_BYTES = 1 << 26
"""A smaller file is read: a process that looks at mapped memory is killed when somebody cuts the file short."""
CHUNK_BYTES = 1 << 24
ORIGIN = "onnx_nepenthe.origin"
WHOLE_BYTES_BITS = 8
Buffer = bytes | mmap.mmap


@dataclass(frozen=True)
class Stamp:
    """What tells one state of a file from another."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int

    @staticmethod
    def of(found: os.stat_result) -> Stamp:
        """The stamp in what `os.stat` says."""
        return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class Origin:
    """The files that a model was read from, as they were then."""

    path: Path
    stamps: tuple[tuple[Path, Stamp | None], ...]


class DataFile:
    """A file of weights, open for as long as any of them is used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._handle)
        self.stamp = Stamp.of(os.fstat(self._handle))
        self.buffer = self._buffer()

    def _buffer(self) -> Buffer:
        if self.stamp.size_bytes > LARGEST_READ_BYTES:
            return mmap.mmap(self._handle, 0, access=mmap.ACCESS_READ)
        return b"".join(self._chunks(0, self.stamp.size_bytes))

    def copy_to(self, out: BinaryIO, offset: int, length: int) -> None:
        """Append `length` bytes from `offset` on to `out`, inside the kernel where it can do that.

        Raises:
            UnreadableError: the file has been cut short.
        """
        done = self._copied_by_kernel(out, offset, length)
        for chunk in self._chunks(offset + done, length - done):
            out.write(chunk)

    def _copied_by_kernel(self, out: BinaryIO, offset: int, length: int) -> int:
        """How many bytes it copied; 0 where it cannot (other file systems, other systems)."""
        if not hasattr(os, "copy_file_range"):
            return 0
        out.flush()
        start, done = out.tell(), 0
        with contextlib.suppress(OSError):
            while done < length:
                copied = os.copy_file_range(
                    self._handle, out.fileno(), length - done, offset_src=offset + done, offset_dst=start + done
                )
                if not copied:
                    break
                done += copied
        out.seek(start + done)
        return done

    def _chunks(self, offset: int, length: int) -> Iterator[bytes]:
        end = offset + length
        while offset < end:
            chunk = self._read_at(offset, min(CHUNK_BYTES, end - offset))
            if not chunk:
                raise UnreadableError(f"'{self.path.name}' was cut short while it was read")
            yield chunk
            offset += len(chunk)

    def _read_at(self, offset: int, length: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._handle, length, offset)
        os.lseek(self._handle, offset, os.SEEK_SET)
        return os.read(self._handle, length)

    def page_out(self) -> None:
        """Let the system have the memory that pages of the file take; they come back when they are looked at."""
        if isinstance(self.buffer, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            self.buffer.madvise(mmap.MADV_DONTNEED)


class Mapped(ir.ExternalTensor):
    """A tensor in a data file that is shared with the other tensors in it."""

    def __init__(self, entry: ir.ExternalTensor, file: DataFile) -> None:
        super().__init__(
            entry.location,
            entry.offset,
            entry.length,
            entry.dtype,
            shape=entry.shape,
            name=entry.name,
            doc_string=entry.doc_string,
            metadata_props=dict(entry.metadata_props),
            base_dir=entry.base_dir,
        )
        self.file = file

    def numpy(self) -> npt.NDArray[Any]:
        """The numbers where they are mapped; only types below 8 bits are unpacked into new memory."""
        if self.dtype.bitwidth < WHOLE_BYTES_BITS:
            proto = onnx.TensorProto(data_type=int(self.dtype), dims=self.shape.numpy(), raw_data=self.tobytes())
            return ir.serde.TensorProtoTensor(proto).numpy()
        dtype = np.dtype(self.dtype.numpy()).newbyteorder("<")
        flat = np.frombuffer(self.file.buffer, dtype, self.size, self.offset or 0)
        return flat.reshape(self.shape.numpy())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        array = np.asarray(self.numpy(), dtype)
        return array.copy() if copy else array

    def tobytes(self) -> bytes:
        """The bytes, copied."""
        start = self.offset or 0
        return bytes(memoryview(self.file.buffer)[start : start + self.nbytes])

    def tofile(self, file: Any) -> None:
        """Write the bytes to a binary file, without holding them in memory."""
        self.file.copy_to(file, self.offset or 0, self.nbytes)

    def release(self) -> None:
        """Nothing: the mapping is shared."""


def map_weights(model: ir.Model) -> tuple[DataFile, ...]:
    """Let the tensors of `model` that are in files share one mapping of each; the files.

    Raises:
        UnreadableError: a file is gone, or cannot be read.
    """
    files: dict[str, DataFile] = {}

    def mapped(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        if not isinstance(tensor, ir.ExternalTensor):
            return tensor
        if tensor.path not in files:
            files[tensor.path] = _opened(Path(tensor.path))
        return Mapped(tensor, files[tensor.path])

    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = mapped(value.const_value)
    for body in (model.graph, *(function.graph for function in model.functions.values())):
        for node in body.all_nodes():
            _map_attributes(node, mapped)
    return tuple(files.values())


def _map_attributes(node: ir.Node, mapped: Any) -> None:
    for name, attribute in list(node.attributes.items()):
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
            node.attributes[name] = ir.AttrTensor(name, mapped(attribute.value))
        elif attribute.type == ir.AttributeType.TENSORS and any(
            isinstance(t, ir.ExternalTensor) for t in attribute.value
        ):
            node.attributes[name] = ir.AttrTensors(name, [mapped(tensor) for tensor in attribute.value])


def _opened(path: Path) -> DataFile:
    try:
        return DataFile(path)
    except OSError as error:
        raise UnreadableError(f"'{path.name}' cannot be read: {error.strerror or error}") from error


def stamp_of(path: Path) -> Stamp | None:
    """The state the file is in; None when there is none."""
    try:
        return Stamp.of(os.stat(path))
    except OSError:
        return None


def remember_origin(model: ir.Model, path: Path, stamp: Stamp | None, files: tuple[DataFile, ...]) -> None:
    """Note in `model` what it was read from; copies and rewritten models do not inherit it.

    Args:
        model: as read, and not to be changed.
        path: of the model.
        stamp: taken before it was read.
        files: of its weights.
    """
    model.meta[ORIGIN] = Origin(path, ((path, stamp), *((file.path, file.stamp) for file in files)))


def origin_of(model: ir.Model) -> Path | None:
    """The file that holds exactly `model`, if there is one.

    Raises:
        UnreadableError: it, or a file with its weights, has been changed since it was read.
    """
    origin = model.meta.get(ORIGIN)
    if not isinstance(origin, Origin):
        return None
    for path, stamp in origin.stamps:
        if stamp_of(path) != stamp:
            raise UnreadableError(f"{path} was changed or removed while this ran; nothing was written, run it again")
    return origin.path
