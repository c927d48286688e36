"""Rectifiers and their counts made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.regimes import RegimeCounts

RELU = Activation(knots=(0.0,), lines=((0.0, 0.0), (1.0, 0.0)))
RELU6 = Activation(knots=(0.0, 6.0), lines=((0.0, 0.0), (1.0, 0.0), (0.0, 6.0)))
JUMP = Activation(knots=(1.0,), lines=((0.0, 0.0), (1.0, 0.0)))
"""ThresholdedRelu: z = 1 belongs below."""
HARD_SWISH = Activation(knots=(-3.0, 3.0), lines=((0.0, 0.0), None, (1.0, 0.0)))
GELU = Activation(knots=(-4.0, 4.0), lines=((0.0, 0.0), None, (1.0, 0.0)), asymptotic=frozenset({0, 2}))


def rectifier(activation: Activation, channels: int | None = 3, axis: int | None = 1) -> Rectifier:
    return Rectifier("y", "act", "Relu", "z", "y", activation, axis, channels, 17)


def counted(activation: Activation, *channels: Sequence[float]) -> RegimeCounts:
    """Counts of the z given per channel, by definition: strictly inside a piece, or on a knot."""
    knots = np.array([float(np.max(knot)) for knot in activation.knots])
    counts = np.zeros((activation.regimes, len(channels)), np.int64)
    ties = np.zeros((len(knots), len(channels)), np.int64)
    for at, seen in enumerate(channels):
        for z in seen:
            if z in knots:
                ties[list(knots).index(z), at] += 1
            else:
                counts[int((z > knots).sum()), at] += 1
    low = np.array([min(seen, default=np.inf) for seen in channels])
    high = np.array([max(seen, default=-np.inf) for seen in channels])
    return RegimeCounts(counts, ties, low, high)


def with_nan(counts: RegimeCounts, times: int = 1) -> RegimeCounts:
    return replace(counts, nonfinite=times)
