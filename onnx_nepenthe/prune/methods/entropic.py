"""What EGP and NEPENTHE share: a budget given by entropy and magnitude, most of it to the layers with the least.

Source: ALGORITHMS.md §§2, 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from onnx_nepenthe.prune.allotment import Allotment, allot
from onnx_nepenthe.prune.guards import kept_note, last_note, last_of_path, room
from onnx_nepenthe.prune.masking import prunable, without_smallest
from onnx_nepenthe.prune.measures.pq_index import dispensable, pq_index
from onnx_nepenthe.prune.methods.base import require
from onnx_nepenthe.prune.records import Layer, Note, Proposal
from onnx_nepenthe.regimes import Average, IntArray, Tie

Magnitude = Callable[[Layer], float]
Fraction = float | Literal["sap"]
SAP_BETA = 0.9


@dataclass(frozen=True)
class EntropyConfig:
    """Options of both; each has the paper's value where the paper has it."""

    fraction: Annotated[Fraction, "share of the weights of layers with entropy that goes per round, or 'sap'"] = 0.5
    floor: Annotated[float, "with the guard: share of its weights that a layer without a skip around it keeps"] = 0.05
    guard: Annotated[bool, "never prune away a layer that carries the whole signal (not in the papers)"] = True
    linearise: Annotated[bool, "a layer at zero entropy becomes a line at once (not in the papers)"] = True
    tie: Annotated[Tie, "z = 0 is dropped, or counts as below or above"] = "drop"
    average: Annotated[Average, "entropy of a layer over its neurons with entropy, or over all"] = "non-degenerate"

    def __post_init__(self) -> None:
        fraction = self.fraction
        is_share = fraction == "sap" if isinstance(fraction, str) else 0 < fraction <= 1
        require(is_share, f"fraction is {fraction!r}; give a share above 0 and up to 1, or 'sap'")
        require(0 <= self.floor < 1, f"floor is {self.floor:g}; give a share from 0 up to (not including) 1")


def entropy(config: EntropyConfig, layer: Layer) -> float:
    """H_l, bits; 0.0 exactly where every neuron has one state."""
    return layer.statistics.states.layer_entropy(config.tie, config.average)


def is_settled(config: EntropyConfig, layer: Layer) -> bool:
    """Whether every neuron was in one state all the time: zero entropy, by the counts."""
    states, counts = layer.statistics.states, layer.statistics.counts
    if counts.nonfinite or not (states.observations > 0).all():
        return False
    used = (states.with_ties(config.tie) > 0).sum(axis=0)
    # Counts of a curved piece without signs beside them: one regime, but no line.
    curved = [piece for piece, line in enumerate(layer.site.activation.lines) if line is None]
    is_known = layer.statistics.signs is not None or not counts.counts[curved].any()
    return bool((used <= 1).all()) and is_known


def propose_by_entropy(config: EntropyConfig, layers: Sequence[Layer], magnitude: Magnitude) -> Proposal:
    """Masks for the layers that still have entropy, lines for those that have none."""
    linear = tuple(x.site.name for x in layers if config.linearise and not x.is_linear and is_settled(config, x))
    asked = [x for x in prunable(layers) if not x.is_linear and entropy(config, x) > 0]
    last = last_of_path(layers) if config.guard else None
    taken = [layer for layer in asked if layer is not last]
    notes = [last_note(layer) for layer in asked if layer is last]
    may_go = room(taken, config.guard, config.floor)
    importance = np.array([entropy(config, layer) * magnitude(layer) for layer in taken])
    # A layer whose weights are all 0 takes no part in the softmax, and adds nothing to what is shared out.
    shares = [layer for layer, some, size in zip(taken, may_go, importance, strict=True) if some and size > 0]
    budget = budget_of(config, shares)
    given = allot(budget, importance, may_go)
    notes += notes_on(taken, may_go, given)
    masks = {
        str(layer.site.feeder): without_smallest(layer, amount)
        for layer, amount in zip(taken, given.amounts.tolist(), strict=True)
        if amount
    }
    done = "" if masks or linear else _why_done(asked, budget)
    return Proposal(masks=masks, linear=linear, notes=tuple(notes), done=done)


def budget_of(config: EntropyConfig, layers: Sequence[Layer]) -> float:
    """B, weights: a share of those that are left, or what SAP would prune of each layer by itself."""
    if isinstance(config.fraction, str):
        return float(sum(_sap_count(layer) for layer in layers))
    return config.fraction * sum(layer.remaining for layer in layers)


def notes_on(layers: Sequence[Layer], may_go: IntArray, given: Allotment) -> list[Note]:
    """Where the guard kept weights that the formula would have taken."""
    is_stopped = given.full | (may_go == 0)
    kept = [layer.remaining - some for layer, some in zip(layers, may_go.tolist(), strict=True)]
    notes = [
        kept_note(layer, left) for layer, left, stop in zip(layers, kept, is_stopped, strict=True) if stop and left
    ]
    if notes and given.unplaced >= 1:
        notes.append(Note("", f"{int(given.unplaced)} weights of the budget stay: no layer has room for them (guard)"))
    return notes


def _sap_count(layer: Layer) -> int:
    index = pq_index(layer.weight.reshape(1, -1), layer.mask.reshape(1, -1))
    return int(dispensable(index, np.array([layer.remaining]), beta=SAP_BETA)[0])


def _why_done(asked: Sequence[Layer], budget: float) -> str:
    if not asked:
        return "no layer has both entropy and weights left"
    return "the guard leaves nothing to prune" if budget == 0 else "the budget is less than one weight a layer"
