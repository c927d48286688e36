"""NEPENTHE: entropy-based pruning as a neural network depth's reducer.

The paper prunes until layers have no entropy, and counts them. Turning those into lines is ours (`linearise`).
Source: arXiv 2404.16890, ALGORITHMS.md §3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx_nepenthe.prune.methods.base import METHODS, Context, Method
from onnx_nepenthe.prune.methods.entropic import EntropyConfig, propose_by_entropy
from onnx_nepenthe.prune.records import Layer, Proposal


@dataclass(frozen=True)
class NepentheConfig(EntropyConfig):
    """Options of NEPENTHE. The paper's fraction is 0.5 for ResNet-18, 0.25 for Swin-T and 0.1 for MobileNetV2."""


def neuron_magnitude(layer: Layer) -> float:
    """mean_i( mean_j |w_ij| over the non-zeros of neuron i ); a neuron without any counts 0."""
    size = np.where(layer.mask, np.abs(layer.weight), 0.0)
    there = (size > 0).sum(axis=1)
    return float((size.sum(axis=1) / np.maximum(there, 1)).mean())


def propose(config: NepentheConfig, layers: Sequence[Layer], context: Context) -> Proposal:
    """Prune by I_l = H_l · mean over the neurons of their mean |w|."""
    return propose_by_entropy(config, layers, neuron_magnitude)


METHODS.register("nepenthe")(
    Method(
        name="nepenthe",
        summary="prune where entropy is low until whole layers have none, then turn those into lines",
        paper="arXiv 2404.16890",
        config=NepentheConfig,
        propose=propose,
        needs=frozenset({"sums"}),
    )
)
