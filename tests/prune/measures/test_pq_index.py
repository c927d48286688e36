"""PQ index and what follows from it, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from onnx_nepenthe.prune.measures.pq_index import dispensable, pq_index, pq_indices
from tests.helpers.pruned import layer

EVERY = np.ones((1, 4), bool)


def index(values: list[float], mask: list[bool] | None = None, p: float = 0.5, q: float = 1.0) -> float:
    return float(pq_index(np.array([values]), np.array([mask or [True] * len(values)]), p, q)[0])


def test_by_hand() -> None:
    """p = 1/2, q = 1: I = 1 - (Σ√|w|)² / (d Σ|w|). For 1, 4, 9, 16: 1 - 100 / (4 · 30) = 1/6."""
    assert index([1, 4, 9, 16]) == pytest.approx(1 / 6)
    assert index([-1, 4, -9, 16]) == pytest.approx(1 / 6)
    assert index([2, 2, 2, 2]) == 0
    assert index([0, 0, 5, 0]) == pytest.approx(0.75)


def test_other_norms() -> None:
    """p = 1, q = 2: I = 1 - Σ|w| / (√d ‖w‖₂). For 3, 4: 1 - 7 / (√2 · 5)."""
    assert index([3, 4], p=1, q=2) == pytest.approx(1 - 7 / (np.sqrt(2) * 5))


def test_only_entries_that_are_not_masked_count() -> None:
    assert index([1, 4, 9, 16, 0, 7], [True] * 4 + [False] * 2) == pytest.approx(1 / 6)
    assert index([0, 0, 5, 0], [False, False, True, False]) == 0


def test_nothing_to_measure_is_zero() -> None:
    assert index([1, 2], [False, False]) == 0
    assert index([0, 0]) == 0


def test_scopes() -> None:
    layers = [layer("a", [[1, 4], [9, 16]]), layer("b", [[5.0, 5.0]])]
    assert [x.tolist() for x in pq_indices(layers, "neuron")] == [[1 - 9 / 10, 1 - 49 / 50], [0]]
    assert pq_indices(layers, "layer")[0][0] == pytest.approx(1 / 6)
    (everything,) = pq_indices(layers, "global")
    assert everything[0] == pytest.approx(1 - (10 + 2 * np.sqrt(5)) ** 2 / (6 * 40))
    assert pq_indices([], "global")[0].tolist() == [0]


def test_how_many_can_go_by_hand() -> None:
    """p = 1/2 and q = 1 make both exponents ±1, 2: r = d (1 + η)^-2 (1 - I)."""
    d = np.array([4])
    assert dispensable(np.array([0.75]), d, beta=0.9).tolist() == [3]
    assert dispensable(np.array([0.75]), d, beta=0.5).tolist() == [2]
    assert dispensable(np.array([0.75]), d, gamma=0.5, beta=0.9).tolist() == [1]
    assert dispensable(np.array([0.0]), np.array([100]), beta=0.9).tolist() == [0]
    # (1 + η)^-2 = 1/4: r = 100 · 0.25 · 0.8 = 20.
    assert dispensable(np.array([0.2]), np.array([100]), eta=1.0, beta=0.9).tolist() == [80]
    # η = -1/2: r = 4 d (1 - I) > d: nothing goes.
    assert dispensable(np.array([0.2]), np.array([100]), eta=-0.5, beta=0.9).tolist() == [0]
    # p = 1, q = 2: exponents -2 and 2: r = d (1 - I)² = 100 · 0.81.
    assert dispensable(np.array([0.1]), np.array([100]), p=1, q=2, beta=0.9).tolist() == [19]


WEIGHTS = arrays(np.float64, (3, 7), elements=st.floats(-10, 10))


@given(WEIGHTS, arrays(np.bool_, (3, 7)), st.floats(1e-6, 1e6))
def test_bounds_and_scale(weights: np.ndarray, mask: np.ndarray, scale: float) -> None:
    weights = np.where(np.abs(weights) < 1e-6, 0, weights)
    found = pq_index(weights, mask)
    assert (found >= 0).all()
    assert (found <= 1).all()
    np.testing.assert_allclose(pq_index(weights * scale, mask), found, atol=1e-12)


@given(WEIGHTS)
def test_robin_hood(weights: np.ndarray) -> None:
    """Moving magnitude from a large entry to a small one never makes a set sparser."""
    size = np.abs(weights) + 0.1
    evened = size.copy()
    at, to = size.argmax(axis=1), size.argmin(axis=1)
    part = (size.max(axis=1) - size.min(axis=1)) / 4
    for row in range(3):
        evened[row, at[row]] -= part[row]
        evened[row, to[row]] += part[row]
    every = np.ones(size.shape, bool)
    assert (pq_index(evened, every) <= pq_index(size, every) + 1e-12).all()
