"""One-shot magnitude pruning: one step to the target, then fine-tuning.

Source: ALGORITHMS.md §6 (compared with gradual pruning in arXiv 2004.14765, ICANN 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx_nepenthe.prune.methods.base import METHODS, Context, Method
from onnx_nepenthe.prune.methods.magnitude import MagnitudeConfig, prune_to
from onnx_nepenthe.prune.records import Layer, Proposal


@dataclass(frozen=True)
class OneShotConfig(MagnitudeConfig):
    """Options of one-shot pruning."""


def propose(config: OneShotConfig, layers: Sequence[Layer], context: Context) -> Proposal:
    """Everything in the first round."""
    if context.round > 1:
        return Proposal(done="the target was reached in one step")
    return prune_to(config, layers, config.sparsity)


METHODS.register("one-shot")(
    Method(
        name="one-shot",
        summary="the smallest weights go in one step, then fine-tuning",
        paper="arXiv 2004.14765",
        config=OneShotConfig,
        propose=propose,
    )
)
