"""EASIER: the activation with the lowest entropy becomes the identity, one after each training.

Source: arXiv 2404.18949 (ECML-PKDD 2024), ALGORITHMS.md §4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from onnx_nepenthe.prune.methods.base import METHODS, Context, Method, require
from onnx_nepenthe.prune.records import Layer, Proposal
from onnx_nepenthe.regimes import Average, Tie


@dataclass(frozen=True)
class EasierConfig:
    """Options of EASIER."""

    per_round: Annotated[int, "activations that go per round"] = 1
    line: Annotated[Literal["identity", "fitted"], "the line that an activation becomes"] = "identity"
    tie: Annotated[Tie, "z = 0 is dropped, or counts as below or above"] = "above"
    average: Annotated[Average, "entropy of a layer over its neurons with entropy, or over all"] = "all"

    def __post_init__(self) -> None:
        require(self.per_round >= 1, f"per_round is {self.per_round}; give 1 or more")


def propose(config: EasierConfig, layers: Sequence[Layer], context: Context) -> Proposal:
    """The layers with the lowest entropy, the first where they are equal."""
    left = [layer for layer in layers if not layer.is_linear]
    if not left:
        return Proposal(done="every activation is linear")
    ranked = sorted(left, key=lambda layer: layer.statistics.states.layer_entropy(config.tie, config.average))
    chosen = tuple(layer.site.name for layer in ranked[: config.per_round])
    return Proposal(linear=chosen, line=config.line)


METHODS.register("easier")(
    Method(
        name="easier",
        summary="the activation with the lowest entropy becomes the identity, one after each training",
        paper="arXiv 2404.18949",
        config=EasierConfig,
        propose=propose,
        needs=frozenset({"sums"}),
        tie="above",
        average="all",
    )
)
