"""Folders `test_data_set_0/input_0.pb …` that ONNX models are published with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from onnx_nepenthe.errors import UnreadableError
from onnx_nepenthe.graph.tensors import read_tensor
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.sources.base import SOURCES, Entry, Piece, Source
from onnx_nepenthe.sources.options import SourceOptions
from onnx_nepenthe.sources.ports import check_dtype
from onnx_nepenthe.sources.records import whole_piece

_INPUT = re.compile(r"input_(\d+)\.pb")
_SET = re.compile(r"test_data_set_(\d+)")


class TestSets(Source):
    """One whole feed per set; `input_i.pb` goes to the model's i-th input, whatever name it carries."""

    __test__ = False

    def __init__(self, path: Path, ports: Sequence[Tensor], options: SourceOptions) -> None:
        super().__init__(str(path), options)
        self._sets = _sets(path)
        self._ports = ports
        for folder in self._sets:
            _check_inputs(folder, ports)

    def total(self) -> int | None:
        """Number of sets."""
        return len(self._sets)

    def pieces(self) -> Iterator[Piece]:
        """One per set."""
        return (self._piece(folder) for folder in self._sets)

    def _piece(self, folder: Path) -> Piece:
        arrays = {port.name: read_tensor(folder / f"input_{at}.pb") for at, port in enumerate(self._ports)}
        for at, port in enumerate(self._ports):
            check_dtype(arrays[port.name].dtype, port, str(folder / f"input_{at}.pb"))
        return whole_piece(arrays, self._ports, str(folder))


class _OnnxTestSets:
    def accepts(self, spec: object) -> bool:
        return isinstance(spec, str | Path) and Path(spec).is_dir() and bool(_sets(Path(spec)))

    def open(self, spec: Any, ports: Sequence[Tensor], options: SourceOptions) -> Source:
        return TestSets(Path(spec), ports, options)


def _sets(path: Path) -> list[Path]:
    """The folder itself when it is a set, else the sets in it by number."""
    if _inputs(path):
        return [path]
    numbered = [(int(match[1]), child) for child in path.iterdir() if (match := _SET.fullmatch(child.name))]
    return [child for _, child in sorted(numbered) if child.is_dir()]


def _inputs(folder: Path) -> list[int]:
    return sorted(int(match[1]) for child in folder.iterdir() if (match := _INPUT.fullmatch(child.name)))


def _check_inputs(folder: Path, ports: Sequence[Tensor]) -> None:
    found = _inputs(folder)
    if found == list(range(len(ports))):
        return
    files = ", ".join(f"input_{number}.pb" for number in found) or "no input_*.pb"
    names = ", ".join(repr(port.name) for port in ports)
    raise UnreadableError(f"{folder}: has {files}; the model's {len(ports)} inputs are {names}, one file each from 0")


ONNX_TEST_SETS: Entry = SOURCES.register("onnx_test_sets")(_OnnxTestSets())
