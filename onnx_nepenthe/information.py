"""What the regimes of a channel tell about the class of a sample.

A channel whose regime follows the class is not safe to turn into a line, however low its entropy.
Source: PSP-entropy (arXiv 2004.14765), ALGORITHMS.md §6; first order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from onnx_nepenthe.regimes import FloatArray, IntArray, RegimeCounts, Tie


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Regime counts of one rectifier, apart for every class.

    Attributes:
        by_class: class number → counts of the samples of that class.
    """

    by_class: Mapping[int, RegimeCounts] = field(default_factory=dict)

    def __add__(self, other: ClassCounts) -> ClassCounts:
        """Counts over both sets of observations; exact, associative and commutative.

        Raises:
            ValueError: the two do not describe the same rectifier.
        """
        merged = dict(self.by_class)
        for label, counts in other.by_class.items():
            merged[label] = merged[label] + counts if label in merged else counts
        return ClassCounts(dict(sorted(merged.items())))

    @property
    def classes(self) -> tuple[int, ...]:
        """Class numbers seen, increasing."""
        return tuple(sorted(self.by_class))

    def total(self) -> RegimeCounts:
        """Counts over all classes.

        Raises:
            ValueError: nothing was observed.
        """
        if not self.by_class:
            raise ValueError("no class was observed")
        first, *rest = (self.by_class[label] for label in self.classes)
        return sum(rest, first)

    def class_entropy(self, tie: Tie = "below") -> FloatArray:
        """Bits, float64 (classes, channels): H of the regimes within each class, 0 · log 0 = 0.

        Source: ALGORITHMS.md §6, H_{n,c} = -P log2 P - N log2 N with P the share of potentials > 0 and N = 1 - P, so
        that z = 0 counts as not above by default. With more regimes than two we take all of them.
        """
        return np.stack([self.by_class[label].channel_entropy(tie) for label in self.classes])

    def psp_entropy(self, tie: Tie = "below") -> FloatArray:
        """Bits, float64 (channels,): H_n, the sum over the classes of `class_entropy`."""
        total: FloatArray = self.class_entropy(tie).sum(axis=0)
        return total

    def class_shares(self, tie: Tie = "below") -> FloatArray:
        """float64 (classes, channels): p(c), the share of each channel's observations that are of class c."""
        seen: IntArray = np.stack([self.by_class[label].with_ties(tie).sum(axis=0) for label in self.classes])
        shares: FloatArray = seen / np.maximum(seen.sum(axis=0), 1)
        return shares

    def mutual_information(self, tie: Tie = "below") -> FloatArray:
        """Bits, float64 (channels,): H(regime) - sum_c p(c) H_{n,c}; 0 when the regime tells nothing about the class.

        At most the entropy of the class. Source: ALGORITHMS.md §6.

        >>> on, off = (RegimeCounts(np.array([[a], [4 - a]]), np.zeros((1, 1), int), *np.zeros((2, 1))) for a in (0, 4))
        >>> ClassCounts({0: on, 1: off}).mutual_information().tolist()
        [1.0]
        """
        within = (self.class_shares(tie) * self.class_entropy(tie)).sum(axis=0)
        bits: FloatArray = self.total().channel_entropy(tie) - within
        return np.maximum(bits, 0.0)


def counts_by_class(labels: IntArray, inside: IntArray, ties: IntArray) -> dict[int, tuple[IntArray, IntArray]]:
    """Class number → (counts, ties) of its samples.

    Args:
        labels: (samples,).
        inside: (regimes, samples, channels).
        ties: (knots, samples, channels).
    """
    found: dict[int, tuple[IntArray, IntArray]] = {}
    for label in np.unique(labels).tolist():
        own = labels == label
        found[label] = (inside[:, own].sum(axis=1), ties[:, own].sum(axis=1))
    return found
