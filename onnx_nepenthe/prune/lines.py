"""Which line takes the place of an activation, channel by channel."""

from __future__ import annotations

from typing import Literal

import numpy as np

from onnx_nepenthe.activations import Activation
from onnx_nepenthe.activations.observed import UNDECIDED, exact_pieces
from onnx_nepenthe.prune.records import SiteStatistics
from onnx_nepenthe.prune.rectifier import Rectifier
from onnx_nepenthe.regimes import FloatArray
from onnx_nepenthe.sums import LineSums

Lines = tuple[FloatArray, FloatArray]


def line_of(
    rectifier: Rectifier, statistics: SiteStatistics | None, otherwise: Literal["fitted", "identity"] = "fitted"
) -> Lines:
    """Slope and intercept, each float64 (channels,).

    A channel whose observations were all in one exact piece takes that piece's line. The others take the least-squares
    line ("fitted", where sums were counted; ALGORITHMS.md §8) or the piece that is most like the identity. Where z adds
    a skip, the least-squares line has slope 1: its intercept goes into a bias, another slope would cost an operator.
    """
    slope, intercept = nearest_identity(rectifier.activation, rectifier.site.channels)
    if statistics is None:
        return slope, intercept
    if otherwise == "fitted" and statistics.sums is not None:
        slope, intercept = _shift(statistics.sums) if rectifier.site.is_sum else statistics.sums.line()
    # A mixture's pieces are not the function's own: a fold is fitted as a whole.
    return (
        (slope, intercept) if rectifier.mode == "fold" else _exact(rectifier.activation, statistics, slope, intercept)
    )


def _shift(sums: LineSums) -> Lines:
    """The line of slope 1 with the least squared error: its intercept is the mean of y - z."""
    return np.ones(len(sums.z)), (sums.y - sums.z) / np.maximum(sums.n, 1)


def nearest_identity(activation: Activation, channels: int) -> Lines:
    """The first line with the slope nearest to 1 among those that let a signal through; the identity if there is none.

    >>> nearest_identity(Activation((0.0,), ((0.01, 0.0), (1.0, 0.0))), 2)[0].tolist()
    [1.0, 1.0]
    """
    pieces = [piece for piece, line in enumerate(activation.lines) if line is not None]
    lines = [activation.line(piece, channels) for piece in pieces]
    passing = [line for line in lines if np.all(line[0] != 0)]
    if not passing:
        return np.ones(channels), np.zeros(channels)
    return min(passing, key=lambda line: float(np.abs(line[0] - 1).max()))


def _exact(activation: Activation, statistics: SiteStatistics, slope: FloatArray, intercept: FloatArray) -> Lines:
    pieces = exact_pieces(activation, statistics.counts)
    slope, intercept = slope.copy(), intercept.copy()
    for piece in np.unique(pieces[pieces != UNDECIDED]).tolist():
        own = pieces == piece
        exact = activation.line(piece, len(pieces))
        slope[own], intercept[own] = exact[0][own], exact[1][own]
    return slope, intercept
