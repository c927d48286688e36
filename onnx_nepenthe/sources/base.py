"""What a data source is: pieces that are read when needed, cut into batches of a part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import UnreadableError, UsageError
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.registry import Registry
from onnx_nepenthe.sources.ahead import mapped_ahead
from onnx_nepenthe.sources.options import SourceOptions, check_limit
from onnx_nepenthe.sources.ports import check_classes, class_count
from onnx_nepenthe.sources.split import Part, check_part, part_size, split, thin

__all__ = ["SOURCES", "Batch", "Entry", "Indices", "Part", "Piece", "Source", "SourceOptions", "open_source"]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples as the model takes them.

    Attributes:
        feeds: input name → (samples, …) in the model's type; scalars are repeated with every batch.
        labels: int64 (samples, …), or None.
        size: number of samples; 1 for a whole feed.
        whole: the record is one complete feed: it is neither cut, joined nor padded.
    """

    feeds: Mapping[str, Array]
    labels: Array | None
    size: int
    whole: bool = False


@dataclass(frozen=True, eq=False)
class Piece:
    """Consecutive samples that are read together.

    Attributes:
        size: number of samples.
        read: positions within the piece → those samples.
        form: shapes of one sample; only pieces of equal form share a batch.
        whole: one complete feed, never cut or joined (size 1).
    """

    size: int
    read: Callable[[Indices], Batch]
    form: Hashable = ()
    whole: bool = False


class Source(ABC):
    """Data that can be gone through again and again, read lazily.

    Attributes:
        name: what reports and messages call it.
        classes: how many the model tells apart; labels of one number a sample are checked against it. None: unknown.
    """

    def __init__(self, name: str, options: SourceOptions) -> None:
        self.name = name
        self.classes: int | None = None
        self._options = options

    @abstractmethod
    def total(self) -> int | None:
        """Number of samples before any limit; None when only reading tells."""

    @abstractmethod
    def pieces(self) -> Iterator[Piece]:
        """All samples, from the first, in an order that never changes."""

    def count(self) -> int | None:
        """Number of samples; None when only reading tells."""
        total, limit = self.total(), self._options.limit
        if total is None or limit is None:
            return total
        return min(total, limit)

    def batches(self, batch: int, part: Part = "all", limit: int | None = None) -> Iterator[Batch]:
        """The samples of `part` in order, `batch` at a time.

        Fewer come in the last batch, where the shape of a sample changes, and for whole feeds (one each).
        The parts, and which samples a limit takes, depend on the seed alone, not on `batch`; workers change nothing.

        Args:
            batch: samples in a batch.
            part: see `split.split`.
            limit: at most so many samples of the part, taken as `SourceOptions.limit` does.

        Raises:
            UsageError: a batch size or limit below 1, or an unknown part.
            UnreadableError: (while going on) data that do not fit the model or cannot be read.
        """
        if batch < 1:
            raise UsageError(f"the batch size must be at least 1, not {batch}")
        check_part(part)
        check_limit(limit)
        return mapped_ahead(self._checked, _grouped(self._chosen(part, limit), batch), self._options.workers)

    def _checked(self, group: Sequence[_Sample]) -> Batch:
        batch = _read(group)
        if batch.labels is None or self.classes is None or batch.whole:
            return batch
        return replace(batch, labels=check_classes(batch.labels, self.classes, self.name))

    def _chosen(self, part: Part, limit: int | None) -> Iterator[_Sample]:
        count, seed = self.count(), self._options.seed
        samples = thin(self._samples(), self.total(), self._options.limit, seed)
        return thin(split(samples, part, seed), None if count is None else part_size(count, part), limit, seed)

    def _samples(self) -> Iterator[_Sample]:
        is_empty = True
        for piece in self.pieces():
            is_empty = is_empty and not piece.size
            yield from ((piece, at) for at in range(piece.size))
        if is_empty:
            raise UnreadableError(f"{self.name}: holds no samples")


class Entry(Protocol):
    """One way to give data."""

    def accepts(self, spec: object) -> bool:
        """Whether `spec` looks like this source's; entries do not overlap."""

    def open(self, spec: Any, ports: Sequence[Tensor], options: SourceOptions) -> Source:
        """The source; see `open_source`."""


SOURCES: Registry[Entry] = Registry("data source")
"""Name → entry."""


def open_source(
    spec: object, ports: Sequence[Tensor], options: SourceOptions | None = None, outputs: Sequence[Tensor] = ()
) -> Source:
    """The data that `spec` means, checked against the model's inputs as far as that is quick.

    Args:
        spec: path of a .npz file, of a folder of images or of ONNX test sets; "package.module:callable", which
            runs that code; from Python also a callable, a mapping of arrays, one array, an iterable of feeds, or a
            Source, which is returned as it is.
        ports: the inputs a caller of the model must feed.
        options: see there.
        outputs: of the model, to know its number of classes.

    Raises:
        UnreadableError: no such data, or data that do not fit the model.
        UsageError: options that do not fit the data or the model.
        UnsupportedError: an input of a type data cannot be given in.
    """
    if isinstance(spec, Source):
        return spec
    if not ports:
        raise UsageError("the model has no inputs, so it takes no data")
    for name in SOURCES:
        if SOURCES[name].accepts(spec):
            source = SOURCES[name].open(spec, ports, options or SourceOptions())
            source.classes = class_count(outputs)
            return source
    raise _unknown(spec)


def _unknown(spec: object) -> UnreadableError:
    if not isinstance(spec, str | Path):
        return UnreadableError(f"data of type {type(spec).__name__} cannot be read; give arrays by input name")
    path = Path(spec)
    if path.is_dir():
        return UnreadableError(f"{path}: the folder holds neither images nor test_data_set_* folders")
    if path.exists():
        return UnreadableError(f"{path}: not a .npz file; data are .npz, a folder, or package.module:callable")
    return UnreadableError(f"{path}: no such file or folder, nor is it of the form package.module:callable")


_Sample = tuple[Piece, int]


def _grouped(samples: Iterator[_Sample], batch: int) -> Iterator[list[_Sample]]:
    group: list[_Sample] = []
    for sample in samples:
        if group and not _can_join(group[0][0], sample[0]):
            yield group
            group = []
        group.append(sample)
        if len(group) == batch:
            yield group
            group = []
    if group:
        yield group


def _can_join(piece: Piece, other: Piece) -> bool:
    return not piece.whole and not other.whole and piece.form == other.form


def _read(group: Sequence[_Sample]) -> Batch:
    runs = groupby(group, key=_piece_of)
    parts = [piece.read(np.asarray([at for _, at in run], np.int64)) for piece, run in runs]
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    feeds = {
        name: np.concatenate([part.feeds[name] for part in parts]) if array.ndim else array
        for name, array in first.feeds.items()
    }
    labels = [part.labels for part in parts if part.labels is not None]
    return Batch(feeds, np.concatenate(labels) if labels else None, sum(part.size for part in parts))


def _piece_of(sample: _Sample) -> Piece:
    return sample[0]
