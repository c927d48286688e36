"""PSP-entropy: what the state of a neuron (its post-synaptic potential above 0 or not) has to do with classes.

Source: arXiv 2004.14765 (ICANN 2020), ALGORITHMS.md §6. First order and mutual information of one rectifier are
`information.ClassCounts`; here are the second order and the means over a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from onnx_nepenthe.information import ClassCounts
from onnx_nepenthe.prune.records import SiteStatistics
from onnx_nepenthe.regimes import FloatArray, Tie


@dataclass(frozen=True)
class ClassEntropy:
    """Means over neurons, bits.

    Attributes:
        first: H_n per class, the mean over classes of the entropy of the state within a class.
        second: the same for pairs of classes; None for a single class.
        information: mutual information of state and class.
    """

    first: float
    second: float | None
    information: float


def pair_entropy(classes: ClassCounts, pair: tuple[int, int], tie: Tie = "below") -> FloatArray:
    """Bits, float64 (channels,): entropy of the state over the samples of both classes together.

    A neuron that tells the two apart has 1 bit here and 0 bits in each of them. The paper's words leave open how the
    pair is taken together; we pool the counts.

    Raises:
        KeyError: a class that was not observed.
    """
    one, other = pair
    return (classes.by_class[one] + classes.by_class[other]).channel_entropy(tie)


def second_order(classes: ClassCounts, tie: Tie = "below") -> FloatArray:
    """Bits, float64 (channels,): the sum of `pair_entropy` over all pairs of classes; 0 when there are none.

    Raises:
        ValueError: no class was observed.
    """
    pairs = combinations(classes.classes, 2)
    start = np.zeros(classes.total().counts.shape[1])
    return sum((pair_entropy(classes, pair, tie) for pair in pairs), start)


def class_entropy(classes: ClassCounts, tie: Tie = "below") -> ClassEntropy:
    """Of one rectifier: means over its neurons, orders per class and per pair so that their numbers do not matter.

    Raises:
        ValueError: no class was observed.
    """
    seen = len(classes.classes)
    pairs = seen * (seen - 1) // 2
    first = float(classes.psp_entropy(tie).mean()) / seen if seen else 0.0
    second = float(second_order(classes, tie).mean()) / pairs if pairs else None
    return ClassEntropy(first, second, float(classes.mutual_information(tie).mean()))


def class_entropies(statistics: Mapping[str, SiteStatistics], tie: Tie = "below") -> dict[str, ClassEntropy]:
    """Of every site that was counted by class."""
    return {name: class_entropy(s.classes, tie) for name, s in statistics.items() if s.classes and s.classes.by_class}
