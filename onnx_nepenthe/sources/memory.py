"""Arrays and feeds that a Python caller holds already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnx_nepenthe.errors import UnreadableError
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.sources.base import SOURCES, Entry, Piece, Source
from onnx_nepenthe.sources.options import SourceOptions
from onnx_nepenthe.sources.ports import check_labels
from onnx_nepenthe.sources.records import arrays_from_mapping, piece_from_arrays, pieces_from_records


class Arrays(Source):
    """All samples as arrays: input name → (samples, …), optionally `labels`."""

    def __init__(self, given: Mapping[str, Any], ports: Sequence[Tensor], options: SourceOptions) -> None:
        super().__init__("the given arrays", options)
        arrays, labels = arrays_from_mapping(given, ports, self.name)
        self._piece = piece_from_arrays(arrays, None, ports, self.name)
        if labels is not None:
            labels = check_labels(labels, self._piece.size, self.name)
            self._piece = piece_from_arrays(arrays, labels, ports, self.name)

    def total(self) -> int | None:
        """Length of axis 0."""
        return self._piece.size

    def pieces(self) -> Iterator[Piece]:
        """One: everything."""
        yield self._piece


class Feeds(Source):
    """An iterable of feeds or (feeds, labels) that can be gone through more than once."""

    def __init__(self, given: Iterable[object], ports: Sequence[Tensor], options: SourceOptions) -> None:
        super().__init__("the given feeds", options)
        self._given = given
        self._ports = ports

    def total(self) -> int | None:
        """Unknown: a feed may hold any number of samples."""
        return None

    def pieces(self) -> Iterator[Piece]:
        """One per feed."""
        return pieces_from_records(self._given, self._ports, self.name, whole_feeds=self._options.whole_feeds)


class _Memory:
    def accepts(self, spec: object) -> bool:
        given_elsewhere = isinstance(spec, str | bytes | Path) or callable(spec) or hasattr(spec, "get_next")
        return isinstance(spec, Iterable) and not given_elsewhere

    def open(self, spec: Any, ports: Sequence[Tensor], options: SourceOptions) -> Source:
        if isinstance(spec, np.ndarray):
            if len(ports) != 1:
                raise UnreadableError(f"the model has {len(ports)} inputs; give a mapping from input name to array")
            spec = {ports[0].name: spec}
        if isinstance(spec, Mapping) and not options.whole_feeds:
            return Arrays(spec, ports, options)
        if isinstance(spec, Mapping):
            spec = [spec]
        if iter(spec) is spec:
            raise UnreadableError("an iterator can be gone through only once; give a list, or a function that makes it")
        return Feeds(spec, ports, options)


MEMORY: Entry = SOURCES.register("memory")(_Memory())
