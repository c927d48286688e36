"""Class-conditional entropy and mutual information, against numbers worked out by hand."""

import numpy as np
import pytest

from onnx_nepenthe.information import ClassCounts, counts_by_class
from onnx_nepenthe.regimes import RegimeCounts


def counts(off: list[int], on: list[int], ties: list[int] | None = None) -> RegimeCounts:
    channels = len(off)
    tied = np.array([ties or [0] * channels])
    return RegimeCounts(np.array([off, on]), tied, np.zeros(channels), np.zeros(channels))


def test_first_order_psp_entropy_by_hand() -> None:
    """Channel 0: P = 3/4 in class 0 and 1/2 in class 1. Channel 1: always on. Channel 2: P = 1/4 and 0."""
    found = ClassCounts({0: counts([1, 0, 3], [3, 4, 1]), 1: counts([2, 0, 4], [2, 4, 0])})
    quarter = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    assert quarter == pytest.approx(0.8112781245)
    np.testing.assert_allclose(found.class_entropy(), [[quarter, 0, quarter], [1, 0, 0]])
    np.testing.assert_allclose(found.psp_entropy(), [quarter + 1, 0, quarter])


def test_ties_are_not_above_by_default() -> None:
    """P is the share of potentials > 0: of four observations two are above, one is zero and one below."""
    found = ClassCounts({5: counts([1], [2], [1])})
    assert found.psp_entropy().tolist() == [1.0]
    assert found.psp_entropy("drop")[0] == pytest.approx(0.9182958341)


def test_mutual_information_by_hand() -> None:
    """Channel 0 follows the class: 1 bit. Channel 1 does not: 0. Channel 2: H(1/4) - (1/2 · 1 + 1/2 · 0)."""
    found = ClassCounts({0: counts([4, 2, 2], [0, 2, 2]), 1: counts([0, 2, 0], [4, 2, 4])})
    quarter = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    np.testing.assert_allclose(found.mutual_information(), [1.0, 0.0, quarter - 0.5], atol=1e-15)


def test_mutual_information_weighs_classes_by_their_share() -> None:
    """Class 0 has three quarters of the observations: H(1/4 on) - 0 = H(1/4)."""
    found = ClassCounts({0: counts([6], [0]), 1: counts([0], [2])})
    assert found.class_shares().tolist() == [[0.75], [0.25]]
    assert found.mutual_information()[0] == pytest.approx(0.8112781245)


def test_mutual_information_is_the_usual_sum() -> None:
    """sum p(r, c) log2 p(r, c) / (p(r) p(c)), on random counts with three regimes."""
    rng = np.random.default_rng(0)
    table = rng.integers(1, 50, (4, 3, 1))
    tied = np.zeros((2, 1), np.int64)
    found = ClassCounts({c: RegimeCounts(table[c], tied, np.zeros(1), np.zeros(1)) for c in range(4)})
    joint = table[:, :, 0] / table.sum()
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    assert found.mutual_information()[0] == pytest.approx((joint * np.log2(joint / outer)).sum())


def test_merging_is_by_class_and_commutes() -> None:
    a, b = ClassCounts({2: counts([1], [0])}), ClassCounts({0: counts([0], [3]), 2: counts([2], [5])})
    for merged in (a + b, b + a):
        assert merged.classes == (0, 2)
        assert merged.by_class[2].counts.tolist() == [[3], [5]]
        assert merged.total().counts.tolist() == [[3], [8]]
    assert (ClassCounts() + a).classes == (2,)


def test_no_class_has_no_total() -> None:
    with pytest.raises(ValueError, match="no class"):
        ClassCounts().total()


def test_samples_are_told_apart_by_label() -> None:
    inside = np.arange(2 * 3 * 1).reshape(2, 3, 1)
    found = counts_by_class(np.array([7, 1, 7]), inside, np.zeros((1, 3, 1), np.int64))
    assert sorted(found) == [1, 7]
    assert found[7][0].tolist() == [[0 + 2], [3 + 5]]
    assert found[1][0].tolist() == [[1], [4]]
