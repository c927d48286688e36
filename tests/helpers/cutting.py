"""Cut what can be proved to be constant, and what data show to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from onnx_nepenthe.activations import Activation
from onnx_nepenthe.cutting import Cut, CutPlan, apply_cuts, find_cuts
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.linearise import Linearised, linearise
from onnx_nepenthe.prove import bounds_of, describe, prove_regimes
from onnx_nepenthe.rectifiers import find_rectifiers
from onnx_nepenthe.regimes import RegimeCounts

Array = npt.NDArray[Any]
Values = Mapping[str, Array]
"""Every value of one run."""


def counts_of(values: Iterable[Array], activation: Activation, axis: int, channels: int) -> RegimeCounts:
    """Exact counts of pre-activations, as measuring gives them."""
    total = RegimeCounts.empty(activation.regimes, channels)
    knots = [np.broadcast_to(np.asarray(knot, np.float64), (channels,))[:, None] for knot in activation.knots]
    edges = [np.full((channels, 1), -np.inf), *knots, np.full((channels, 1), np.inf)]
    for z in values:
        rows = np.moveaxis(np.asarray(z, np.float64), axis, 0).reshape(channels, -1)
        inside = [((rows > low) & (rows < high)).sum(axis=1) for low, high in pairwise(edges)]
        ties = np.array([(rows == knot).sum(axis=1) for knot in knots], np.int64).reshape(len(knots), channels)
        total += RegimeCounts(np.array(inside, np.int64), ties, rows.min(axis=1), rows.max(axis=1))
    return total


@dataclass(frozen=True)
class Result:
    """A model, what was found in it, and the model without it."""

    loaded: ir.Model
    view: GraphView
    linearised: Linearised
    counts: Mapping[str, RegimeCounts]
    plan: CutPlan

    def model(self, cuts: Sequence[Cut] | None = None) -> onnx.ModelProto:
        """The model without `cuts`: all of them by default."""
        return ir.to_proto(apply_cuts(self.loaded, self.view, self.plan.cuts if cuts is None else cuts))


def cut(model: onnx.ModelProto, values: Sequence[Values] = ()) -> Result:
    """Find what can be cut.

    Args:
        model: not changed.
        values: of runs on calibration data; without, only what is proved counts.
    """
    loaded = ir.from_proto(model)
    view = view_from_model(loaded)
    rectifiers, _ = find_rectifiers(view)
    bounds = bounds_of(view, {})
    proofs, counts = {}, {}
    for r in rectifiers:
        z = bounds[r.operand]
        proofs[r.key] = (prove_regimes(r.activation, z, r.channels or 1, r.axis or 0), describe(z))
        if values and r.axis is not None and r.channels is not None:
            counts[r.key] = counts_of([v[r.operand] for v in values], r.activation, r.axis, r.channels)
    linearised = linearise(rectifiers, proofs, counts)
    return Result(loaded, view, linearised, counts, find_cuts(view, linearised, proofs, counts))
