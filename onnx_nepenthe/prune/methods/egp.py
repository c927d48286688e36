"""EGP: entropy-guided pruning.

Source: arXiv 2308.06619 (ICCVW 2023), ALGORITHMS.md §2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from onnx_nepenthe.prune.masking import magnitudes
from onnx_nepenthe.prune.methods.base import METHODS, Context, Method, require
from onnx_nepenthe.prune.methods.entropic import EntropyConfig, propose_by_entropy
from onnx_nepenthe.prune.records import Layer, Proposal
from onnx_nepenthe.regimes import Tie


@dataclass(frozen=True)
class EgpConfig(EntropyConfig):
    """Options of EGP."""

    tie: Annotated[Tie, "z = 0 is dropped, or counts as below or above"] = "below"
    rounds: Annotated[int, "rounds at most"] = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.rounds >= 1, f"rounds is {self.rounds}; give 1 or more")


def mean_magnitude(layer: Layer) -> float:
    """mean |w| over the weights of a layer that are not zero; 0.0 when there are none."""
    size = magnitudes(layer)
    size = size[size > 0]
    return float(size.mean()) if size.size else 0.0


def propose(config: EgpConfig, layers: Sequence[Layer], context: Context) -> Proposal:
    """Prune by E_l = H_l · mean|w|."""
    if context.round > config.rounds:
        return Proposal(done=f"all {config.rounds} rounds are over")
    return propose_by_entropy(config, layers, mean_magnitude)


METHODS.register("egp")(
    Method(
        name="egp",
        summary="entropy-guided pruning: the less entropy times magnitude a layer has, the more of it goes",
        paper="arXiv 2308.06619",
        config=EgpConfig,
        propose=propose,
        needs=frozenset({"sums"}),
        tie="below",
    )
)
