"""Which piece of an activation explains everything that was observed, channel by channel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.regimes import RegimeCounts

UNDECIDED = -1
IntArray = npt.NDArray[np.int64]


def observed_pieces(activation: Activation, counts: RegimeCounts) -> IntArray:
    """int64 (channels,): the one piece that explains every observation, or `UNDECIDED`."""
    fits = explaining(activation, counts)
    first = fits.argmax(axis=0)
    return np.where(fits.any(axis=0), _preferred(activation, fits, first), UNDECIDED)


def explaining(activation: Activation, counts: RegimeCounts) -> npt.NDArray[np.bool_]:
    """bool (regimes, channels): whether a piece explains every observation, of which there must be one.

    A z on a knot agrees with both pieces where the activation is continuous, and with the one the
    operator's definition puts it in where it jumps. An infinite z agrees with no flat piece: its line is 0 * inf.
    """
    regimes, channels = counts.counts.shape
    fits = np.empty((regimes, channels), bool)
    total = counts.observations
    finite = np.isfinite(counts.low) & np.isfinite(counts.high)
    for piece in range(regimes):
        explained = counts.counts[piece].copy()
        for knot, beside in ((piece - 1, "above"), (piece, "below")):
            if 0 <= knot < regimes - 1 and _holds_tie(activation, knot, beside):
                explained += counts.ties[knot]
        fits[piece] = (explained == total) & (total > 0)
        if activation.lines[piece] is not None:
            fits[piece] &= finite | (activation.line(piece, channels)[0] != 0)
    return fits


def exact_pieces(activation: Activation, counts: RegimeCounts) -> IntArray:
    """As `observed_pieces`, with `UNDECIDED` also where the piece is no line, or one in the limit only."""
    pieces = observed_pieces(activation, counts)
    exact = np.array([activation.is_exact(piece) for piece in range(activation.regimes)])
    return np.where((pieces != UNDECIDED) & exact[pieces], pieces, UNDECIDED)


def is_flat(activation: Activation, pieces: IntArray) -> npt.NDArray[np.bool_]:
    """bool (channels,): whether the piece is a constant; False where it is `UNDECIDED`."""
    flat = np.zeros(len(pieces), bool)
    for piece in np.unique(pieces[pieces != UNDECIDED]).tolist():
        if activation.lines[piece] is not None:
            flat |= (pieces == piece) & (activation.line(int(piece), len(pieces))[0] == 0)
    return flat


def curved_mass(activation: Activation, counts: RegimeCounts) -> npt.NDArray[np.float64]:
    """float64 (channels,): the share of observations on a curved piece (1 for a channel that was never seen).

    Source: ALGORITHMS.md §1: the curved middle of a smooth activation is a regime beside its two tails.
    """
    curved = [piece for piece, line in enumerate(activation.lines) if line is None]
    total = counts.observations
    share: npt.NDArray[np.float64] = counts.counts[curved].sum(axis=0) / np.maximum(total, 1)
    return np.where(total > 0, share, 1.0)


def _holds_tie(activation: Activation, knot: int, beside: str) -> bool:
    if activation.is_continuous(knot):
        return True
    above = bool(activation.knot_above[knot]) if activation.knot_above else False
    return above == (beside == "above")


def _preferred(activation: Activation, fits: npt.NDArray[np.bool_], first: npt.NDArray[np.intp]) -> IntArray:
    """Where several pieces explain the data (all on a knot), an exact one."""
    chosen = first.astype(np.int64)
    for piece in reversed(range(activation.regimes)):
        if activation.is_exact(piece):
            chosen = np.where(fits[piece], piece, chosen)
    return chosen
