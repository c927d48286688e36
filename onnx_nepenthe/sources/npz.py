"""NumPy archives: an array per input, optionally `labels`."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from onnx_nepenthe.errors import UnreadableError
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.sources.base import SOURCES, Batch, Entry, Indices, Piece, Source
from onnx_nepenthe.sources.options import SourceOptions
from onnx_nepenthe.sources.ports import (
    check_dtype,
    check_labels,
    check_shape,
    common_length,
    labels_name,
    match_names,
)
from onnx_nepenthe.sources.records import piece_from_arrays

MEMORY_SHARE = 0.5
"""Arrays that would unpack to more than this share of the free memory are refused."""
MOST_ARRAYS = 10_000
LARGEST_HEADER_BYTES = 1 << 16
"""A compressed file may state gigabytes, which would be unpacked before anybody looks at them."""
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    OSError,
)
_MEMBER = ".npy"


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size_bytes: int


class Archive(Source):
    """Arrays of a .npz file; opening reads their headers, going through it the arrays (nothing is unpickled)."""

    def __init__(self, path: Path, ports: Sequence[Tensor], options: SourceOptions) -> None:
        super().__init__(str(path), options)
        self._path = path
        self._ports = ports
        headers = _headers(path)
        self._names = match_names(list(headers), ports, self.name)
        self._labels = labels_name(list(headers), ports)
        for port in ports:
            header = headers[self._names[port.name]]
            check_shape(header.shape, port, self.name)
            check_dtype(header.dtype, port, self.name)
        self._total = common_length({name: headers[name].shape for name in self._names.values()}, self.name)
        used = [*self._names.values(), *([self._labels] if self._labels else [])]
        _check_memory(sum(headers[name].size_bytes for name in used), self.name)
        if self._labels and headers[self._labels].shape[:1] != (self._total,):
            check_labels(np.empty(headers[self._labels].shape[:1], np.int8), self._total, self.name)

    def total(self) -> int | None:
        """Length of axis 0."""
        return self._total

    def pieces(self) -> Iterator[Piece]:
        """One: everything; the arrays are read with its first samples and kept for this pass."""
        loaded: list[Piece] = []
        loading = Lock()

        def read(at: Indices) -> Batch:
            with loading:
                if not loaded:
                    loaded.append(self._load())
            return loaded[0].read(at)

        yield Piece(self._total, read)

    def _load(self) -> Piece:
        arrays = {port.name: _array(self._path, self._names[port.name]) for port in self._ports}
        labels = None
        if self._labels:
            labels = check_labels(_array(self._path, self._labels), self._total, self.name)
        return piece_from_arrays(arrays, labels, self._ports, self.name)


class _Npz:
    def accepts(self, spec: object) -> bool:
        return isinstance(spec, str | Path) and Path(spec).suffix.lower() == ".npz" and Path(spec).is_file()

    def open(self, spec: Any, ports: Sequence[Tensor], options: SourceOptions) -> Source:
        return Archive(Path(spec), ports, options)


def _headers(path: Path) -> Mapping[str, _Header]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(_MEMBER)]
            if len(members) > MOST_ARRAYS:
                raise ValueError(f"{len(members):,} arrays in it")
            return {info.filename.removesuffix(_MEMBER): _header(archive, info, path) for info in members}
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> _Header:
    name = info.filename.removesuffix(_MEMBER)
    with archive.open(info) as file:
        shape, dtype = _shape_and_dtype(file)
        size_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if dtype.hasobject:
            raise UnreadableError(f"{path}: array {name!r} holds Python objects, which are never unpickled")
        if file.tell() + size_bytes > info.file_size:
            raise UnreadableError(f"{path}: array {name!r} is cut off")
    return _Header(shape, dtype, size_bytes)


def _shape_and_dtype(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(file)
    if version not in _READERS:
        raise ValueError(f"unknown .npy version {version}")
    size, read = _READERS[version]
    stated = file.read(size)
    length = int.from_bytes(stated, "little")
    if length > LARGEST_HEADER_BYTES:
        raise ValueError(f"a header of {length:,} bytes")
    shape, _, dtype = read(io.BytesIO(stated + file.read(length)))
    if min(shape, default=0) < 0:
        raise ValueError(f"the shape {shape}")
    return shape, dtype


_READERS: dict[tuple[int, int], tuple[int, Any]] = {
    (1, 0): (2, npy.read_array_header_1_0),
    (2, 0): (4, npy.read_array_header_2_0),
}
"""Version → bytes that state the header's length, and what reads from there on."""


def _array(path: Path, name: str) -> npt.NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return np.asarray(archive[name])
    except (*_DAMAGE, KeyError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UnreadableError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UnreadableError(f"{path}: not a readable .npz file ({reason})")


def _check_memory(size_bytes: int, where: str) -> None:
    free_bytes = _free_bytes()
    if size_bytes > MEMORY_SHARE * free_bytes:
        raise UnreadableError(
            f"{where}: unpacks to {size_bytes / 2**30:.1f} GiB, more than half of the free memory"
            f" ({free_bytes / 2**30:.1f} GiB); split the file, or stream it with package.module:callable"
        )


def _free_bytes() -> int:
    """Memory a process may still take; all of it where only that is told, 8 GiB where nothing is."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 8 * 2**30


NPZ: Entry = SOURCES.register("npz")(_Npz())
