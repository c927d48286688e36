"""Counting at one site, on the device: integers that equal what numpy counts, whatever the batches.

Source: ALGORITHMS.md §1; the definition is that of `regimes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from onnx_nepenthe.activations import Activation
from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.information import ClassCounts
from onnx_nepenthe.prune.records import Site, SiteStatistics
from onnx_nepenthe.regimes import FloatArray, IntArray, RegimeCounts
from onnx_nepenthe.sums import LineSums

ANY = -1
"""The class of all samples where classes are not told apart."""


def knots_of(activation: Activation, channels: int) -> FloatArray:
    """float64 (knots, channels)."""
    rows = [np.broadcast_to(np.asarray(knot, np.float64).reshape(-1), (channels,)) for knot in activation.knots]
    return np.stack(rows) if rows else np.zeros((0, channels))


class Counter:
    """What one site's z and y add up to.

    The counts are kept on the device as one table (classes, statistics, channels): for every knot the z above it, then
    for every knot the z below it, then the NaN, then all.
    """

    def __init__(self, site: Site, activation: Activation, *, by_class: bool = False, sums: bool = True) -> None:
        self._site, self._by_class, self._sums = site, by_class, sums
        self._own = knots_of(activation, site.channels)
        # Where a piece is curved, the sign of z is counted as one more knot.
        self._is_curved = any(line is None for line in activation.lines)
        signs = np.zeros((int(self._is_curved), site.channels))
        self._knots = np.concatenate([self._own, signs])
        self._rows: dict[int, int] = {}
        self._table: Tensor | None = None
        self._ends: tuple[Tensor, Tensor] | None = None
        self._lines: Tensor | None = None
        self._bounds: dict[tuple[torch.dtype, torch.device], list[tuple[Tensor, Tensor]]] = {}
        self._samples, self._ratio = 0, 0

    def add(self, z: Tensor, y: Tensor, samples: int, labels: Sequence[int] = ()) -> None:
        """Take one batch.

        Args:
            z, y: before and after the activation, the channels on the site's axis.
            samples: in the batch.
            labels: the class of each sample; needed to count by class.

        Raises:
            UnsupportedError: to be counted by class, but the first axis of z does not hold the samples in order.
        """
        self._samples += samples
        if not z.numel():
            return
        if self._by_class:
            part = self._statistics(z, self._other_axes(z, 0))
            self._put(part.movedim(1, 0), self._spread(z, labels))
        else:
            self._put(self._statistics(z, self._other_axes(z))[None], [ANY])
        self._add_ends(z)
        if self._sums:
            self._add_lines(z, y)

    def result(self) -> SiteStatistics:
        """Everything so far."""
        channels, size = self._site.channels, 2 * len(self._knots) + 2
        empty = np.zeros((0, size, channels), np.int64)
        table = empty if self._table is None else self._table.cpu().numpy()
        total: IntArray = table.sum(axis=0)
        low, high = self._final_ends(total[-2] > 0)
        counts = self._regimes(total, slice(0, len(self._own)), low, high)
        signs = slice(len(self._own), None) if self._is_curved else None
        classes = None
        if self._by_class:
            states = signs or slice(0, len(self._own))
            unknown = np.full(channels, np.inf), np.full(channels, -np.inf)
            order = sorted(self._rows.items())
            classes = ClassCounts({label: self._regimes(table[row], states, *unknown) for label, row in order})
        return SiteStatistics(
            counts,
            classes,
            self._line_sums(total[-1]) if self._sums else None,
            self._samples,
            self._regimes(total, signs, low, high) if signs else None,
        )

    def _other_axes(self, z: Tensor, *kept: int) -> tuple[int, ...]:
        return tuple(axis for axis in range(z.dim()) if axis != self._site.axis and axis not in kept)

    def _statistics(self, z: Tensor, axes: tuple[int, ...]) -> Tensor:
        """int64 (statistics, *axes that are kept)."""
        bounds = self._bounds_for(z)
        above = [_count(z > floor, axes) for floor, _ in bounds]
        below = [_count(z < ceiling, axes) for _, ceiling in bounds]
        missing = _count(z.isnan(), axes)
        every = torch.full_like(missing, prod(z.shape[axis] for axis in axes))
        return torch.stack([*above, *below, missing, every])

    def _bounds_for(self, z: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Per knot the largest number of z's type at or below it, and the smallest at or above it.

        To compare z with them is to compare it with the knot itself, also where z's type cannot hold the knot.
        """
        key = (z.dtype, z.device)
        if key not in self._bounds:
            trailing = z.dim() - 1 - self._site.axis
            self._bounds[key] = [_bounds(knot, trailing, z) for knot in self._knots]
        return self._bounds[key]

    def _spread(self, z: Tensor, labels: Sequence[int]) -> list[int]:
        """The label of every row of z."""
        ratio, rest = divmod(len(z), len(labels))
        self._ratio = self._ratio or ratio
        if rest or not ratio or ratio != self._ratio or self._site.axis == 0:
            raise UnsupportedError(
                f"{self._site.label} cannot be counted by class: its input of shape {tuple(z.shape)} does not have the "
                f"{len(labels)} samples on its first axis; count without classes"
            )
        return [label for label in labels for _ in range(ratio)]

    def _put(self, parts: Tensor, labels: Sequence[int]) -> None:
        """Add parts (rows, statistics, channels) to the rows of their classes."""
        for label in labels:
            self._rows.setdefault(label, len(self._rows))
        known = 0 if self._table is None else len(self._table)
        if self._table is None or known < len(self._rows):
            new = parts.new_zeros((len(self._rows) - known, *parts.shape[1:]))
            self._table = new if self._table is None else torch.cat([self._table, new])
        rows = torch.tensor([self._rows[label] for label in labels], device=parts.device)
        self._table.index_add_(0, rows, parts)

    def _add_ends(self, z: Tensor) -> None:
        axes = self._other_axes(z)
        low, high = (z.amin(axes), z.amax(axes)) if axes else (z, z)
        low, high = low.double(), high.double()
        if self._ends is not None:
            low, high = torch.minimum(low, self._ends[0]), torch.maximum(high, self._ends[1])
        self._ends = low, high

    def _add_lines(self, z: Tensor, y: Tensor) -> None:
        axes, z, y = self._other_axes(z), z.double(), y.double()
        sums = torch.stack([_sum(term, axes) for term in (z, z * z, y, y * y, z * y)])
        self._lines = sums if self._lines is None else self._lines + sums

    def _final_ends(self, unknown: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        if self._ends is None:
            channels = self._site.channels
            return np.full(channels, np.inf), np.full(channels, -np.inf)
        low, high = (end.cpu().numpy() for end in self._ends)
        return np.where(unknown, -np.inf, low), np.where(unknown, np.inf, high)

    def _line_sums(self, total: IntArray) -> LineSums:
        if self._lines is None:
            return LineSums.empty(self._site.channels)
        return LineSums(total.copy(), *self._lines.cpu().numpy())

    def _regimes(self, table: IntArray, which: slice, low: FloatArray, high: FloatArray) -> RegimeCounts:
        """#(a < z < b) = #(z > a) - #(z >= b), and #(z >= b) = #numbers - #(z < b)."""
        size = len(self._knots)
        over, under, missing, total = table[:size][which], table[size : 2 * size][which], table[-2], table[-1]
        numbers = total - missing
        above, below = np.stack([numbers, *over]), np.stack([*under, numbers])
        ties = numbers - over - under
        for at, (knot, following) in enumerate(pairwise(self._knots[which])):
            # Where two knots coincide, z on them is one tie, not two, and nothing lies between.
            ties[at + 1] = np.where(knot == following, 0, ties[at + 1])
        inside = np.maximum(above - (numbers - below), 0)
        return RegimeCounts(inside, ties, low, high, int(missing.sum()))


def _count(mask: Tensor, axes: tuple[int, ...]) -> Tensor:
    return mask.sum(axes, dtype=torch.int64) if axes else mask.long()


def _sum(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    return values.sum(axes) if axes else values


def _bounds(knot: FloatArray, trailing: int, z: Tensor) -> tuple[Tensor, Tensor]:
    alike = knot[:1] if (knot == knot[0]).all() else knot
    exact = torch.tensor(alike, dtype=torch.float64)
    near = exact.to(z.dtype)
    down, up = torch.full_like(near, -torch.inf), torch.full_like(near, torch.inf)
    floor = torch.where(near.double() > exact, near.nextafter(down), near)
    ceiling = torch.where(near.double() < exact, near.nextafter(up), near)
    shape = (-1, *(1,) * trailing)
    return floor.view(shape).to(z.device), ceiling.view(shape).to(z.device)
