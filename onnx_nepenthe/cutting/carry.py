"""What was measured and decided, for the model without the channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from onnx_nepenthe.cutting.lanes import IntArray
from onnx_nepenthe.cutting.records import Cut
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.linearise import UNDECIDED, Decision, Linearised, Undecided, lines
from onnx_nepenthe.rectifiers import Rectifier, find_rectifiers
from onnx_nepenthe.regimes import RegimeCounts


def cut_counts(counts: Mapping[str, RegimeCounts], cuts: Sequence[Cut]) -> dict[str, RegimeCounts]:
    """Counts of the channels that stay, by rectifier key."""
    gone = _gone(cuts)
    return {key: _counts_without(one, gone[key]) if key in gone else one for key, one in counts.items()}


def cut_proofs(proofs: Mapping[str, tuple[IntArray, str]], cuts: Sequence[Cut]) -> dict[str, tuple[IntArray, str]]:
    """Proofs of the channels that stay, by rectifier key."""
    gone = _gone(cuts)
    return {key: (np.delete(one, gone[key]) if key in gone else one, how) for key, (one, how) in proofs.items()}


def cut_linearised(linearised: Linearised, view: GraphView, cuts: Sequence[Cut]) -> Linearised:
    """The decisions for the channels that stay.

    A rectifier that stays does so even when only channels that are lines are left of it.

    Args:
        linearised: of the model before.
        view: of the model after, whose rectifiers have the same keys.
        cuts: those that were applied.
    """
    gone = _gone(cuts)
    after = {rectifier.key: rectifier for rectifier in find_rectifiers(view)[0]}
    decisions = {
        key: _decision(one, after[key], np.delete(one.pieces, gone[key])) if key in gone and key in after else one
        for key, one in linearised.decisions.items()
    }
    undecided: dict[str, Undecided] = {}
    for key, one in linearised.undecided.items():
        undecided[key] = one
        if key in gone and key in after:
            undecided[key] = replace(one, rectifier=after[key], pieces=np.delete(one.pieces, gone[key]))
    return Linearised(decisions, undecided)


def _gone(cuts: Sequence[Cut]) -> dict[str, IntArray]:
    positions: dict[str, set[int]] = {}
    for entry in (entry for cut in cuts for entry in cut.removed):
        positions.setdefault(entry.value, set()).update(entry.positions)
    return {value: np.array(sorted(at), np.int64) for value, at in positions.items()}


def _counts_without(counts: RegimeCounts, positions: IntArray) -> RegimeCounts:
    return RegimeCounts(
        np.delete(counts.counts, positions, 1),
        np.delete(counts.ties, positions, 1),
        np.delete(counts.low, positions),
        np.delete(counts.high, positions),
        counts.nonfinite,
    )


def _decision(one: Decision, rectifier: Rectifier, pieces: IntArray) -> Decision:
    slope, intercept = lines(rectifier.activation, pieces)
    if (slope == slope[0]).all() and (intercept == intercept[0]).all():
        slope, intercept = slope[:1], intercept[:1]
    assert UNDECIDED not in pieces
    return replace(one, rectifier=rectifier, pieces=pieces, slope=slope, intercept=intercept)
