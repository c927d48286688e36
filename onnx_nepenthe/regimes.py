"""Regimes, their counts and their entropy: the one definition both halves share.

The regime of an observation is the piece of the activation that its pre-activation `z` falls in
(ALGORITHMS.md §1). Counts are integers over the whole data set, so that the result depends neither
on batch size nor on order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Tie = Literal["drop", "below", "above"]
"""z exactly on a knot: not counted (NEPENTHE, default), counted below (EGP), above (EASIER)."""
Average = Literal["non-degenerate", "all"]
"""Layer entropy over channels with H > 0 (NEPENTHE, EGP, default) or all of them (EASIER)."""
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RegimeCounts:
    """Sufficient statistics of one rectifier.

    Attributes:
        counts: int64 (regimes, channels), observations strictly inside each piece.
        ties: int64 (knots, channels), observations exactly on a knot.
        low, high: float64 (channels,), smallest and largest z seen (+inf, -inf before any).
        nonfinite: how many z were NaN; such a rectifier is never linearised.
    """

    counts: IntArray
    ties: IntArray
    low: FloatArray
    high: FloatArray
    nonfinite: int = 0

    @classmethod
    def empty(cls, regimes: int, channels: int) -> RegimeCounts:
        """Nothing observed yet."""
        return cls(
            np.zeros((regimes, channels), np.int64),
            np.zeros((regimes - 1, channels), np.int64),
            np.full(channels, np.inf),
            np.full(channels, -np.inf),
        )

    def __add__(self, other: RegimeCounts) -> RegimeCounts:
        """Counts over both sets of observations; exact, associative and commutative.

        Raises:
            ValueError: the two do not describe the same rectifier.
        """
        if self.counts.shape != other.counts.shape:
            raise ValueError(f"cannot add counts of shapes {self.counts.shape} and {other.counts.shape}")
        return RegimeCounts(
            self.counts + other.counts,
            self.ties + other.ties,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.nonfinite + other.nonfinite,
        )

    @property
    def observations(self) -> IntArray:
        """int64 (channels,): how often each channel was seen, ties included."""
        total: IntArray = self.counts.sum(axis=0) + self.ties.sum(axis=0)
        return total

    def with_ties(self, tie: Tie) -> IntArray:
        """int64 (regimes, channels) with the ties dropped or put on one side."""
        counts = self.counts.copy()
        if tie == "below":
            counts[:-1] += self.ties
        elif tie == "above":
            counts[1:] += self.ties
        return counts

    def channel_entropy(self, tie: Tie = "drop") -> FloatArray:
        """Bits per channel, float64 (channels,): -sum p log2 p.

        Zero is decided on the integers: one non-empty regime is exactly 0.0.

        >>> c = RegimeCounts(np.array([[1, 4], [1, 0]]), np.zeros((1, 2), int), np.zeros(2), np.zeros(2))
        >>> c.channel_entropy().tolist()
        [1.0, 0.0]
        """
        counts = self.with_ties(tie)
        total = np.maximum(counts.sum(axis=0), 1)
        share = counts / total
        logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
        bits: FloatArray = -(share * logs).sum(axis=0)
        return np.where((counts > 0).sum(axis=0) <= 1, 0.0, bits)

    def layer_entropy(self, tie: Tie = "drop", average: Average = "non-degenerate") -> float:
        """Mean channel entropy in bits; 0.0 when every channel has one regime.

        Source: ALGORITHMS.md §1 (NEPENTHE §3.2 averages over neurons with non-zero entropy).
        """
        bits = self.channel_entropy(tie)
        if average == "non-degenerate":
            bits = bits[bits > 0]
        return float(bits.mean()) if bits.size else 0.0
