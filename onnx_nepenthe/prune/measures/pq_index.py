"""PQ index: how sparse a set of weights is, and how many of them it could do without.

Source: arXiv 2302.05601 (ICLR 2023), ALGORITHMS.md §5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from onnx_nepenthe.prune.records import BoolArray, Layer
from onnx_nepenthe.regimes import FloatArray, IntArray

ROUNDING = 1e-12
Scope = Literal["neuron", "layer", "global"]
"""Weights that are looked at together: those of an output neuron or channel, of a layer, of all layers."""


def pq_index(weights: FloatArray, mask: BoolArray, p: float = 0.5, q: float = 1.0) -> FloatArray:
    """float64 (groups,): I = 1 - d^(1/q - 1/p) ‖w‖_p / ‖w‖_q, with d the entries that are not masked.

    Between 0 (all alike) and 1 (one does everything). 0 for a group without entries, or with nothing but zeros.

    Args:
        weights: float64 (groups, entries).
        mask: bool (groups, entries), True where an entry counts.
        p, q: 0 < p < q.

    >>> pq_index(np.array([[1.0, 1.0, 1.0, 1.0], [4.0, 0.0, 0.0, 0.0]]), np.ones((2, 4), bool)).tolist()
    [0.0, 0.75]
    """
    size = np.where(mask, np.abs(weights), 0.0)
    largest = size.max(axis=1, keepdims=True, initial=0.0)
    scaled = np.divide(size, largest, out=np.zeros_like(size), where=largest > 0)
    d = mask.sum(axis=1)
    counted = (d > 0) & (largest[:, 0] > 0)
    smaller = (scaled**p).sum(axis=1) ** (1 / p)
    larger = (scaled**q).sum(axis=1) ** (1 / q)
    scale = np.maximum(d, 1).astype(np.float64) ** (1 / q - 1 / p)
    share = np.divide(scale * smaller, larger, out=np.ones(len(size)), where=counted)
    # Rounding may leave the index of equal weights a little below 0.
    index: FloatArray = np.maximum(1 - share, 0.0)
    return index


def dispensable(
    index: FloatArray, d: IntArray, *, p: float = 0.5, q: float = 1.0, eta: float = 0.0, gamma: float = 1.0, beta: float
) -> IntArray:
    """int64 (groups,): c = floor(d · min(γ (1 - r/d), β)), r = d (1 + η)^(-q/(q-p)) (1 - I)^(pq/(q-p)), at least 0.

    Args:
        index: float64 (groups,), the PQ index.
        d: int64 (groups,), entries that are not masked.
        p, q: of the index.
        eta: η, the larger, the fewer entries count as needed.
        gamma: γ, share of the dispensable entries that go at once.
        beta: β, share of all entries that go at once at most.
    """
    needed = (1 + eta) ** (-q / (q - p)) * (1 - index) ** (p * q / (q - p))
    share = np.minimum(gamma * (1 - needed), beta)
    # A product that is whole but for its rounding is whole.
    count: IntArray = np.floor(d * np.maximum(share, 0.0) * (1 + ROUNDING)).astype(np.int64)
    return count


def groups(layers: Sequence[Layer], scope: Scope) -> list[tuple[FloatArray, BoolArray]]:
    """(weights, mask), each (groups, entries), of what is looked at together: one item a layer, or one in all."""
    match scope:
        case "neuron":
            return [(layer.weight, layer.mask) for layer in layers]
        case "layer":
            return [(layer.weight.reshape(1, -1), layer.mask.reshape(1, -1)) for layer in layers]
        case "global":
            weights = np.concatenate([np.zeros(0), *(layer.weight.ravel() for layer in layers)])
            masks = np.concatenate([np.zeros(0, bool), *(layer.mask.ravel() for layer in layers)])
            return [(weights[None], masks[None])]


def pq_indices(layers: Sequence[Layer], scope: Scope = "layer", p: float = 0.5, q: float = 1.0) -> list[FloatArray]:
    """The index of every group: per layer float64 (out,) or (1,), or one item for all layers.

    Weights with one dimension (biases, norms) do not count.
    """
    return [pq_index(weights, mask, p, q) for weights, mask in groups(layers, scope)]
