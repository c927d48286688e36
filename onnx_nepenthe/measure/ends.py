"""Counts from minimum and maximum alone: exact for channels in one regime, lower bounds for the others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.measure.counting import Run
from onnx_nepenthe.regimes import FloatArray, RegimeCounts

BoolArray = npt.NDArray[np.bool_]


def counts_from_ends(run: Run) -> tuple[RegimeCounts, BoolArray]:
    """What the ends of one run tell.

    A channel whose ends lie strictly inside one piece, or both on one knot, was there all the time: its counts are
    exact. Where the ends lie in two pieces, one observation each is counted, which both have had at least.

    Returns:
        The counts, and (channels,) where they are exact.
    """
    target = run.taps.target
    channels = target.channels
    knots = np.stack([np.broadcast_to(knot.reshape(-1), (channels,)) for knot in target.knots])
    low, high = run.low(), run.high()
    places = _places(knots, low), _places(knots, high)
    is_exact = (places[0] == places[1]) & ((places[0] % 2 == 0) | (low == high))
    both = np.zeros((2 * len(knots) + 1, channels), np.int64)
    at = np.arange(channels)
    both[places[0], at] = np.where(is_exact, run.observations, 1)
    both[places[1], at] = np.where(is_exact, run.observations, 1)
    return RegimeCounts(both[::2], both[1::2], low, high), is_exact


def _places(knots: FloatArray, values: FloatArray) -> npt.NDArray[np.int64]:
    """(channels,): 2 p strictly inside piece p, 2 k + 1 on knot k (the first of those that coincide)."""
    over = (values > knots).sum(axis=0)
    on = (values == knots).any(axis=0)
    place: npt.NDArray[np.int64] = 2 * over + on
    return place
