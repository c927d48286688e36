"""Gradual magnitude pruning: many small steps, each followed by training.

Source: ALGORITHMS.md §6 (arXiv 2004.14765, ICANN 2020; the cubic schedule is arXiv 1710.01878's).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from onnx_nepenthe.prune.methods.base import METHODS, Context, Method, require
from onnx_nepenthe.prune.methods.magnitude import MagnitudeConfig, prune_to
from onnx_nepenthe.prune.records import Layer, Proposal


@dataclass(frozen=True)
class GradualConfig(MagnitudeConfig):
    """Options of gradual pruning."""

    rounds: Annotated[int, "steps to the target"] = 10
    schedule: Annotated[Literal["iterative", "cubic"], "equal shares of what is left, or s (1 - (1 - t/T)^3)"] = (
        "iterative"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.rounds >= 1, f"rounds is {self.rounds}; give 1 or more")


def sparsity_after(config: GradualConfig, step: int) -> float:
    """s_t: the share of all weights that are gone after `step` of the steps.

    Cubic: s_f + (s_0 - s_f)(1 - t/T)^3 with s_0 = 0. Iterative: 1 - (1 - s_f)^(t/T), so that every step takes the same
    share of what is left.

    >>> [round(sparsity_after(GradualConfig(sparsity=0.75, rounds=2), t), 3) for t in range(3)]
    [0.0, 0.5, 0.75]
    >>> [round(sparsity_after(GradualConfig(sparsity=0.8, rounds=2, schedule="cubic"), t), 3) for t in range(3)]
    [0.0, 0.7, 0.8]
    """
    if step >= config.rounds:
        return config.sparsity
    done = step / config.rounds
    if config.schedule == "cubic":
        return config.sparsity * (1 - (1 - done) ** 3)
    left: float = (1 - config.sparsity) ** done
    return 1 - left


def propose(config: GradualConfig, layers: Sequence[Layer], context: Context) -> Proposal:
    """One step of the schedule."""
    if context.round > config.rounds:
        return Proposal(done=f"all {config.rounds} steps are done")
    return prune_to(config, layers, sparsity_after(config, context.round))


METHODS.register("gradual")(
    Method(
        name="gradual",
        summary="the smallest weights go in many small steps, each followed by training",
        paper="arXiv 2004.14765",
        config=GradualConfig,
        propose=propose,
    )
)
