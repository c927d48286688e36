"""Layer Folding: a trained share of the identity in every activation; where it is large, the activation goes.

In training, act = α z + (1 - α) act(z) with one α an activation, and λ Σ |1 - α²| is added to the loss.
Source: arXiv 2106.09309, ALGORITHMS.md §7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from onnx_nepenthe.prune.methods.base import METHODS, Context, Method, require
from onnx_nepenthe.prune.records import Layer, Proposal


@dataclass(frozen=True)
class LayerFoldingConfig:
    """Options of Layer Folding."""

    strength: Annotated[float, "weight of the sum of |1 - alpha^2| in the loss (the paper's lambda)"] = 0.25
    threshold: Annotated[float, "share of the identity from which on an activation goes"] = 0.9

    def __post_init__(self) -> None:
        require(self.strength >= 0, f"strength is {self.strength:g}; give 0 or more")
        require(0 < self.threshold <= 1, f"threshold is {self.threshold:g}; give a share above 0 and up to 1")


def propose(config: LayerFoldingConfig, layers: Sequence[Layer], context: Context) -> Proposal:
    """All activations whose α has reached the threshold become the identity."""
    left = [layer for layer in layers if not layer.is_linear and layer.fold is not None]
    chosen = tuple(layer.site.name for layer in left if layer.fold is not None and layer.fold >= config.threshold)
    done = "" if chosen else f"no activation is {config.threshold:g} identity"
    return Proposal(linear=chosen, line="identity", done=done)


METHODS.register("layer-folding")(
    Method(
        name="layer-folding",
        summary="train a share of the identity into every activation; those that become it go, all at once",
        paper="arXiv 2106.09309",
        config=LayerFoldingConfig,
        propose=propose,
        needs=frozenset({"fold"}),
    )
)
