"""What a scan still has to follow, and what the least is that it has to look at for that."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.activations.observed import UNDECIDED, exact_pieces, explaining
from onnx_nepenthe.measure.counting import Run
from onnx_nepenthe.regimes import RegimeCounts

BoolArray = npt.NDArray[np.bool_]
Need = Literal["nothing", "peaks", "ends"]


def need_of(activation: Activation, counts: RegimeCounts, proved: BoolArray) -> Need:
    """What further data could tell about a rectifier after `counts`.

    As long as no channel has changed regime it may be a line: its ends are wanted. After that only channels that were
    constant so far matter (they may be cut), and where they are all below the first knot, the largest result tells.

    Args:
        activation: of the rectifier.
        counts: so far.
        proved: (channels,), which channels need no data.
    """
    if counts.nonfinite or proved.all():
        return "nothing"
    pieces, seen = exact_pieces(activation, counts), counts.observations > 0
    if not (~proved & seen & (pieces == UNDECIDED)).any():
        return "ends"
    flat = _may_be_flat(activation, counts) & ~proved
    if not flat.any():
        return "nothing"
    return "ends" if flat[1:].any() or not has_floor(activation) else "peaks"


def _may_be_flat(activation: Activation, counts: RegimeCounts) -> BoolArray:
    """bool (regimes, channels): whether the piece is a constant and explains what was seen so far.

    A channel that lies on a knot is explained by both pieces beside it.
    """
    found = np.zeros(counts.counts.shape, bool)
    for piece, explained in enumerate(explaining(activation, counts)):
        if activation.is_exact(piece):
            found[piece] = explained & (activation.line(piece, len(explained))[0] == 0)
    return found


def has_floor(activation: Activation) -> bool:
    """Whether y is above the constant of the lowest piece exactly where z is above the first knot (Relu, Clip)."""
    if activation.regimes < 2 or not activation.is_exact(0) or not activation.is_exact(1):
        return False
    below, above = activation.lines[0], activation.lines[1]
    if below is None or above is None or not activation.is_continuous(0):
        return False
    return all(bool(np.all(np.equal(value, wanted))) for value, wanted in ((below[0], 0), (above[0], 1), (above[1], 0)))


def counts_from_peaks(run: Run, activation: Activation) -> RegimeCounts:
    """All observations below the first knot, ties among them, where y never left its floor; one above it elsewhere.

    The ends of z stay unknown.
    """
    channels = run.taps.target.channels
    nothing = RegimeCounts.empty(activation.regimes, channels)
    _, floor = activation.line(0, channels)
    # A peak that is no number is not on the floor.
    stayed = run.peak() <= _as_result(floor)
    counts = nothing.counts
    counts[0] = np.where(stayed, run.observations, 0)
    counts[1] = np.where(stayed, 0, 1)
    return RegimeCounts(counts, nothing.ties, nothing.low, nothing.high)


def _as_result(floor: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The floor as a float32 operator puts it out."""
    rounded: npt.NDArray[np.float64] = floor.astype(np.float32).astype(np.float64)
    return rounded
