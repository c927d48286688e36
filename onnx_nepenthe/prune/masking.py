"""Which weights go: the smallest by magnitude, the first of those that are equal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx_nepenthe.prune.records import BoolArray, Layer
from onnx_nepenthe.regimes import FloatArray, IntArray


def prunable(layers: Sequence[Layer]) -> list[Layer]:
    """Layers with weights that are left, each feeder once: at its first site."""
    first: dict[str, Layer] = {}
    for layer in layers:
        if layer.site.feeder is not None and layer.remaining:
            first.setdefault(layer.site.feeder, layer)
    return list(first.values())


def smallest(values: FloatArray, amount: int) -> BoolArray:
    """bool like `values` (n,): the `amount` smallest; where they are equal, the first.

    >>> smallest(np.array([3.0, 1.0, 1.0, 2.0]), 1).tolist()
    [False, True, False, False]
    """
    if amount <= 0:
        return np.zeros(len(values), bool)
    if amount >= len(values):
        return np.ones(len(values), bool)
    limit = np.partition(values, amount - 1)[amount - 1]
    chosen: BoolArray = values < limit
    ties = np.flatnonzero(values == limit)
    chosen[ties[: amount - np.count_nonzero(chosen)]] = True
    return chosen


def magnitudes(layer: Layer) -> FloatArray:
    """float64 (remaining,): |w| of the weights that are still there, row by row."""
    found: FloatArray = np.abs(layer.weight[layer.mask])
    return found


def without(layer: Layer, goes: BoolArray) -> BoolArray:
    """The mask of a layer after `goes`, bool (remaining,), has gone."""
    mask = layer.mask.copy()
    mask[layer.mask] = ~goes
    return mask


def without_smallest(layer: Layer, amount: int) -> BoolArray:
    """The mask of a layer after its `amount` smallest weights have gone."""
    return without(layer, smallest(magnitudes(layer), amount))


def rows_without_smallest(layer: Layer, amounts: IntArray) -> BoolArray:
    """As `without_smallest`, in each row apart; `amounts` is int64 (out,)."""
    size = np.where(layer.mask, np.abs(layer.weight), np.inf)
    order = np.argsort(size, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(size.shape[1])[None], axis=1)
    kept: BoolArray = layer.mask & (rank >= amounts[:, None])
    return kept


def without_smallest_of_all(layers: Sequence[Layer], amount: int) -> list[BoolArray]:
    """The masks of all layers after the `amount` weights that are smallest in all of them have gone."""
    sizes = [magnitudes(layer) for layer in layers]
    goes = smallest(np.concatenate([np.zeros(0), *sizes]), amount)
    ends = np.cumsum([len(size) for size in sizes])[:-1]
    return [without(layer, part) for layer, part in zip(layers, np.split(goes, ends), strict=bool(layers))]
