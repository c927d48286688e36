"""SAP: sparsity-informed adaptive pruning; the PQ index says how many weights go.

Source: arXiv 2302.05601 (ICLR 2023), ALGORITHMS.md §5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from onnx_nepenthe.prune.guards import guarded
from onnx_nepenthe.prune.masking import prunable, rows_without_smallest, without_smallest, without_smallest_of_all
from onnx_nepenthe.prune.measures.pq_index import Scope, dispensable, groups, pq_index
from onnx_nepenthe.prune.methods.base import METHODS, Context, Method, require
from onnx_nepenthe.prune.records import BoolArray, Layer, Proposal
from onnx_nepenthe.regimes import IntArray


@dataclass(frozen=True)
class SapConfig:
    """Options of SAP."""

    scope: Annotated[Scope, "weights compared with each other: of a neuron, a layer or the whole network"] = "layer"
    p: Annotated[float, "p of the PQ index, above 0 and below q"] = 0.5
    q: Annotated[float, "q of the PQ index"] = 1.0
    eta: Annotated[float, "the larger, the fewer weights count as needed"] = 0.0
    gamma: Annotated[float, "share of the weights that are not needed that goes per round"] = 1.0
    beta: Annotated[float, "share of all weights that goes per round at most"] = 0.9
    guard: Annotated[bool, "a layer that carries the whole signal keeps at least one weight (not in the paper)"] = True

    def __post_init__(self) -> None:
        require(0 < self.p < self.q, f"p is {self.p:g} and q {self.q:g}; give 0 < p < q")
        require(self.eta > -1, f"eta is {self.eta:g}; give a number above -1")
        require(self.gamma > 0, f"gamma is {self.gamma:g}; give a number above 0")
        require(0 < self.beta <= 1, f"beta is {self.beta:g}; give a share above 0 and up to 1")


def counts(config: SapConfig, layers: Sequence[Layer]) -> list[IntArray]:
    """c of every group, as `pq_index.groups` has them: int64 (out,) or (1,) a layer, or one item for all layers."""
    found = []
    for weights, mask in groups(layers, config.scope):
        index = pq_index(weights, mask, config.p, config.q)
        limits = {"p": config.p, "q": config.q, "eta": config.eta, "gamma": config.gamma, "beta": config.beta}
        found.append(dispensable(index, mask.sum(axis=1), **limits))
    return found


def propose(config: SapConfig, layers: Sequence[Layer], context: Context) -> Proposal:
    """Prune the c smallest weights of every group."""
    left = prunable(layers)
    masks, notes = guarded(left, _masks(config, left), config.guard)
    return Proposal(masks=masks, notes=notes, done="" if masks else "every weight that is left is needed")


def _masks(config: SapConfig, layers: Sequence[Layer]) -> list[BoolArray]:
    found = counts(config, layers)
    if config.scope == "global":
        return without_smallest_of_all(layers, int(found[0][0]))
    if config.scope == "layer":
        return [without_smallest(layer, int(c[0])) for layer, c in zip(layers, found, strict=True)]
    return [rows_without_smallest(layer, c) for layer, c in zip(layers, found, strict=True)]


METHODS.register("sap")(
    Method(
        name="sap",
        summary="prune as many weights as the PQ index says are not needed, and train again from the start",
        paper="arXiv 2302.05601",
        config=SapConfig,
        propose=propose,
        start="rewind",
    )
)
