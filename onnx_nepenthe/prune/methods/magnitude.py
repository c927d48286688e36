"""What one-shot and gradual pruning share: the smallest weights go until a sparsity is reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from onnx_nepenthe.prune.guards import guarded
from onnx_nepenthe.prune.masking import prunable, without_smallest, without_smallest_of_all
from onnx_nepenthe.prune.methods.base import require
from onnx_nepenthe.prune.records import BoolArray, Layer, Proposal

Together = Literal["global", "layer"]


@dataclass(frozen=True)
class MagnitudeConfig:
    """Options of both."""

    sparsity: Annotated[float, "share of all prunable weights that are gone in the end"] = 0.9
    scope: Annotated[Together, "weights compared with each other: of the whole network, or of a layer"] = "global"
    guard: Annotated[bool, "a layer that carries the whole signal keeps at least one weight (not in the paper)"] = True

    def __post_init__(self) -> None:
        require(0 < self.sparsity <= 1, f"sparsity is {self.sparsity:g}; give a share above 0 and up to 1")


def prune_to(config: MagnitudeConfig, layers: Sequence[Layer], sparsity: float) -> Proposal:
    """Prune the smallest weights until `sparsity` of all weights, those that went before among them, are gone."""
    left = prunable(layers)
    masks, notes = guarded(left, _masks(config, left, sparsity), config.guard)
    return Proposal(masks=masks, notes=notes)


def _masks(config: MagnitudeConfig, layers: Sequence[Layer], sparsity: float) -> list[BoolArray]:
    if config.scope == "global":
        return without_smallest_of_all(layers, _missing(layers, sparsity))
    return [without_smallest(layer, _missing([layer], sparsity)) for layer in layers]


def _missing(layers: Sequence[Layer], sparsity: float) -> int:
    """Weights that still have to go."""
    total = sum(layer.mask.size for layer in layers)
    return round(sparsity * total) - sum(layer.mask.size - layer.remaining for layer in layers)
