"""Second-order PSP-entropy against numbers worked out by hand; the first order is in `test_information`."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.information import ClassCounts
from onnx_nepenthe.prune.measures.psp import class_entropies, class_entropy, pair_entropy, second_order
from onnx_nepenthe.prune.records import SiteStatistics
from tests.helpers.pruned import counts

QUARTER = 0.8112781245
FIFTH = -(0.2 * np.log2(0.2) + 0.8 * np.log2(0.8))
# Neuron 0 is ON for class 0 alone; neuron 1 is always ON but once in class 2; neuron 2 is ON half of the time.
CLASSES = ClassCounts(
    {0: counts([0, 0, 2], [4, 4, 2]), 1: counts([4, 0, 2], [0, 4, 2]), 2: counts([4, 1, 2], [0, 3, 2])}
)


def test_a_pair_by_hand() -> None:
    np.testing.assert_allclose(pair_entropy(CLASSES, (0, 1)), [1, 0, 1])
    eighth = -(np.log2(1 / 8) + 7 * np.log2(7 / 8)) / 8
    np.testing.assert_allclose(pair_entropy(CLASSES, (1, 2)), [0, eighth, 1])


def test_classes_weigh_by_their_samples() -> None:
    uneven = ClassCounts({0: counts([0], [4]), 1: counts([1], [0])})
    assert pair_entropy(uneven, (0, 1))[0] == pytest.approx(FIFTH)


def test_the_sum_over_pairs() -> None:
    eighth = -(np.log2(1 / 8) + 7 * np.log2(7 / 8)) / 8
    np.testing.assert_allclose(second_order(CLASSES), [2, 2 * eighth, 3])


def test_ties_are_not_above() -> None:
    tied = ClassCounts({0: counts([0], [2]), 1: counts([0], [0], ties=[2])})
    assert pair_entropy(tied, (0, 1)).tolist() == [1]
    assert pair_entropy(tied, (0, 1), "drop").tolist() == [0]


def test_means_of_a_layer() -> None:
    """First order: (0 + H(1/4) + 3) / 3 classes / 3 neurons. Information of neuron 0 is H(1/3), of neuron 2 it is 0."""
    found = class_entropy(CLASSES)
    twelfth, third = (-(p * np.log2(p) + (1 - p) * np.log2(1 - p)) for p in (1 / 12, 1 / 3))
    assert found.first == pytest.approx((QUARTER + 3) / 9)
    assert found.second == pytest.approx(second_order(CLASSES).mean() / 3)
    assert found.information == pytest.approx((third + twelfth - QUARTER / 3) / 3)


def test_one_class_has_no_pairs() -> None:
    found = class_entropy(ClassCounts({4: counts([1], [3])}))
    assert (found.second, found.information) == (None, 0)
    assert found.first == pytest.approx(QUARTER)
    assert second_order(ClassCounts({4: counts([1], [3])})).tolist() == [0]


def test_of_every_site_that_was_counted_by_class() -> None:
    seen = counts([1], [1])
    statistics = {
        "a": SiteStatistics(seen, ClassCounts({0: seen})),
        "b": SiteStatistics(seen),
        "c": SiteStatistics(seen, ClassCounts()),
    }
    assert list(class_entropies(statistics)) == ["a"]


def test_nothing_observed() -> None:
    with pytest.raises(ValueError, match="no class was observed"):
        second_order(ClassCounts())
