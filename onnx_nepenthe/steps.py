"""What a collapse did, with every number, so that it can be done again without data or measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx_nepenthe.cutting import Cut, apply_cuts
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.plan import Region
from onnx_nepenthe.rewrite import computed_weights, rewrite


@dataclass(frozen=True, eq=False)
class Step:
    """Cuts, then rewrites, on what the step before left.

    Attributes:
        cuts: channels that go.
        regions: rewrites of the model without them.
    """

    cuts: tuple[Cut, ...] = ()
    regions: tuple[Region, ...] = ()


def taken(model: Model, steps: Sequence[Step]) -> Model:
    """`model` (not changed) after the steps."""
    for step in steps:
        if step.cuts:
            model = apply_cuts(model, view_from_model(model), step.cuts)
        view = view_from_model(model)
        if step.regions or computed_weights(view):
            model = rewrite(model, view, step.regions)
    return model
