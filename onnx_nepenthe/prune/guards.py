"""What a method may not do to a network, whatever its formula says.

A layer that no skip goes around carries the whole signal: pruned away, it leaves nothing to retrain. The papers' rules
do that to MobileNetV2's last layer.
Source: ALGORITHMS.md §2 (trap).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from onnx_nepenthe.prune.masking import without_smallest
from onnx_nepenthe.prune.records import BoolArray, Layer, Note
from onnx_nepenthe.regimes import IntArray


def last_of_path(layers: Sequence[Layer]) -> Layer | None:
    """The last layer, when no skip goes around it."""
    last = layers[-1] if layers else None
    return None if last is None or last.site.has_bypass else last


def kept_at_least(layer: Layer, share: float = 0.0) -> int:
    """Weights that a layer keeps under the guard: `share` of all it ever had, at least one; none beside a bypass."""
    return 0 if layer.site.has_bypass else max(1, ceil(share * layer.mask.size))


def room(layers: Sequence[Layer], guard: bool, share: float = 0.0) -> IntArray:
    """int64 (layers,): weights that each layer may lose."""
    keeps = [kept_at_least(layer, share) if guard else 0 for layer in layers]
    found = [max(0, layer.remaining - keep) for layer, keep in zip(layers, keeps, strict=True)]
    return np.array(found, np.int64)


def guarded(
    layers: Sequence[Layer], masks: Sequence[BoolArray], guard: bool
) -> tuple[dict[str, BoolArray], tuple[Note, ...]]:
    """Feeder → mask where a mask changes; with the guard, its largest weight stays where a whole layer would go."""
    found, notes = {}, []
    for layer, given in zip(layers, masks, strict=True):
        keeps = kept_at_least(layer) if guard else 0
        is_stopped = np.count_nonzero(given) < keeps
        mask = without_smallest(layer, layer.remaining - keeps) if is_stopped else given
        if is_stopped:
            notes.append(kept_note(layer, keeps))
        if np.count_nonzero(mask) < layer.remaining:
            found[str(layer.site.feeder)] = mask
    return found, tuple(notes)


def kept_note(layer: Layer, keeps: int) -> Note:
    """That a layer was to go as a whole, and does not."""
    return Note(layer.site.name, f"no signal gets around it: {keeps} of {layer.mask.size} weights stay (guard)")


def last_note(layer: Layer) -> Note:
    """That a layer is not pruned because it is the last."""
    return Note(layer.site.name, "the last layer of the signal path is not pruned (guard)")
