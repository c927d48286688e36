"""From the outputs of one counting run to records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.graph.probe import Taps
from onnx_nepenthe.information import ClassCounts, counts_by_class
from onnx_nepenthe.regimes import FloatArray, IntArray, RegimeCounts
from onnx_nepenthe.sums import LineSums

Array = npt.NDArray[Any]
Results = Mapping[str, Array]
EXACT_FLOAT_COUNT = 1 << 24
"""A float count below it was exact at every step of its sum."""


def needs_care(taps: Taps, results: Results) -> bool:
    """Whether the run met NaN, or more elements than a float can count."""
    if taps.peak:
        return False
    if np.isnan(results[taps.total]).any():
        return True
    counts = [results[name] for name in (*taps.above, *taps.below)]
    return any(count.dtype == np.float32 and count.max(initial=0) >= EXACT_FLOAT_COUNT for count in counts)


@dataclass(frozen=True, eq=False)
class Run:
    """One run's results for one target.

    Attributes:
        taps: of the target.
        results: of the run.
        samples: how many of the first rows count; None for all of them.
    """

    taps: Taps
    results: Results
    samples: int | None = None

    def __post_init__(self) -> None:
        target = self.taps.target
        if target.axis is not None and self.shape[target.axis] != target.channels:
            raise UnsupportedError(
                f"{target.value} has {self.shape[target.axis]} channels in this run and {target.channels} by its "
                "stated shape"
            )

    @property
    def shape(self) -> list[int]:
        """Of z."""
        if not self.taps.shape:
            return [len(self.results[self.taps.peak]), *self.taps.sizes]
        return [int(size) for size in self.results[self.taps.shape]]

    @property
    def elements(self) -> int:
        """Observations of one channel in one row."""
        shape = self.shape[1:] if self.taps.rows else self.shape
        own = self.taps.target.channels if self.taps.target.axis is not None else 1
        return int(np.prod(shape, dtype=np.int64)) // own

    @property
    def observations(self) -> int:
        """Observations of one channel in all rows that count."""
        rows = len(self._taken(self.taps.low)) if self.taps.low else self._peak_rows()
        return self.elements * rows

    def peak(self) -> FloatArray:
        """(channels,): the largest y."""
        largest: FloatArray = self._taken(self.taps.peak).max(axis=0).astype(np.float64)
        return largest

    def low(self) -> FloatArray:
        """(channels,): the smallest z."""
        smallest: FloatArray = self._taken(self.taps.low).min(axis=0).astype(np.float64)
        return smallest

    def high(self) -> FloatArray:
        """(channels,): the largest z."""
        largest: FloatArray = self._taken(self.taps.high).max(axis=0).astype(np.float64)
        return largest

    def regimes(self) -> tuple[IntArray, IntArray, IntArray]:
        """Counts (regimes, rows, channels), ties (knots, rows, channels) and NaN (rows, channels).

        #(a < z < b) = #(z > a) - #(z >= b), and #(z >= b) = #numbers - #(z < b).
        """
        taps, rows = self.taps, len(self._taken(self.taps.low))
        every = np.full((rows, taps.target.channels), self.elements, np.int64)
        numbers = self._count(taps.valid) if taps.valid else every
        above = [numbers, *(self._count(name) for name in taps.above)]
        below = [*(self._count(name) for name in taps.below), numbers]
        inside = np.stack([over - (numbers - under) for over, under in zip(above, below, strict=True)])
        ties = [numbers - over - under for over, under in zip(above[1:], below, strict=False)]
        for at, (knot, following) in enumerate(pairwise(taps.target.knots)):
            # Where two knots coincide, z on them is one tie, not two, and nothing lies between.
            ties[at + 1] = np.where(knot == following, 0, ties[at + 1])
        tied = np.stack(ties) if ties else np.zeros((0, *numbers.shape), np.int64)
        return np.maximum(inside, 0), tied, every - numbers

    def counts(self) -> RegimeCounts:
        """Over all rows."""
        inside, ties, missing = self.regimes()
        unknown = missing.sum(axis=0) > 0
        return RegimeCounts(
            inside.sum(axis=1),
            ties.sum(axis=1),
            np.where(unknown, -np.inf, self.low()),
            np.where(unknown, np.inf, self.high()),
            int(missing.sum()),
        )

    def classes(self, labels: IntArray) -> ClassCounts:
        """Counts apart for the samples of each class, one label a row; ends are not known apart."""
        inside, ties, _ = self.regimes()
        nothing = RegimeCounts.empty(len(inside), inside.shape[-1])
        parts = counts_by_class(labels, inside, ties)
        return ClassCounts({c: RegimeCounts(*part, nothing.low, nothing.high) for c, part in parts.items()})

    def lines(self) -> LineSums:
        """Over all rows."""
        names = self.taps.lines
        z, zz, y, yy, zy = (self._taken(name).sum(axis=0, dtype=np.float64) for name in names)
        return LineSums(np.full(z.shape, self.observations, np.int64), z, zz, y, yy, zy)

    def _peak_rows(self) -> int:
        return len(self._taken(self.taps.peak)) if self.taps.rows else 1

    def _taken(self, name: str) -> Array:
        """(rows, channels)"""
        return self.results[name].reshape(-1, self.taps.target.channels)[: self.samples]

    def _count(self, name: str) -> IntArray:
        return self._taken(name).astype(np.int64)
