"""Where the numbers of one sample lie, each on its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_nepenthe.affine.maps import FloatArray
from onnx_nepenthe.proving.bounds import Bounds, interval
from onnx_nepenthe.proving.crown_steps import Sizes


@dataclass(frozen=True, eq=False)
class Box:
    """Where each number of one sample lies: finite float64 ends (1, *sizes)."""

    low: FloatArray
    high: FloatArray

    @property
    def sizes(self) -> Sizes:
        """Shape of one sample."""
        return self.low.shape[1:]

    @property
    def largest(self) -> FloatArray:
        """The larger size of both ends."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


def box_from(bounds: Bounds, sizes: tuple[int, ...]) -> Box:
    """Channel bounds for every number of a sample."""
    axis = bounds.axis
    if axis is None or not 1 <= axis <= len(sizes) or bounds.channels != sizes[axis - 1]:
        bounds, axis = bounds.hull(), None
    shape = [1] * (len(sizes) + 1)
    if axis is not None:
        shape[axis] = -1
    low, high = (np.broadcast_to(end.reshape(shape), (1, *sizes)) for end in (bounds.low, bounds.high))
    return Box(low, high)


def meet(a: Box, b: Box) -> Box:
    """Where both hold."""
    low, high = np.maximum(a.low, b.low), np.minimum(a.high, b.high)
    return Box(low, np.maximum(low, high))


def by_channel(box: Box, axis: int | None, may_be_nan: bool) -> Bounds:
    """What holds for every position of a channel; for the whole value when `axis` holds samples or is None."""
    if axis is None or axis < 1:
        return interval(box.low.min(initial=np.inf), box.high.max(initial=-np.inf), may_be_nan=may_be_nan)
    others = tuple(i for i in range(box.low.ndim) if i != axis)
    return interval(box.low.min(axis=others), box.high.max(axis=others), axis, may_be_nan)
