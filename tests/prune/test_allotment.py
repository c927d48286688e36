"""Water-filling, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_nepenthe.prune.allotment import allot, ratios, softmax


def test_three_layers_by_hand() -> None:
    """E = 1, 1, 2 and B = 12: R = 4, 4, 2 and softmax = .46831, .46831, .06338 → 5.62, 5.62, 0.76.

    The first has 2 weights only. B = 10, ΣE = 3 and R = 3, 1.5 are left: softmax = .81757, .18243 → 8.18, 1.82.
    """
    given_out = allot(12.0, np.array([1.0, 1.0, 2.0]), np.array([2, 10, 12]))
    assert given_out.amounts.tolist() == [2, 8, 1]
    assert given_out.full.tolist() == [True, False, False]
    assert given_out.unplaced == 0


def test_the_importance_of_a_full_layer_leaves_the_sum() -> None:
    """Were ΣE still 4, the others would get 10 · softmax(4, 2) = 8.81, 1.19."""
    assert allot(10.0, np.array([1.0, 2.0]), np.array([10, 12])).amounts.tolist() == [8, 1]
    assert np.floor(10 * softmax(np.array([4.0, 2.0]))).tolist() == [8, 1]
    assert allot(100.0, np.array([1.0, 2.0]), np.array([100, 120])).amounts.tolist() == [81, 18]
    assert np.floor(100 * softmax(np.array([4.0, 2.0]))).tolist() == [88, 11]


def test_exactly_full_is_not_over_full() -> None:
    given_out = allot(4.0, np.array([1.0, 1.0]), np.array([2, 9]))
    assert given_out.amounts.tolist() == [2, 2]
    assert not given_out.full.any()


def test_all_layers_full() -> None:
    given_out = allot(10.0, np.array([1.0, 2.0]), np.array([3, 4]))
    assert given_out.amounts.tolist() == [3, 4]
    assert given_out.full.all()
    assert given_out.unplaced == 3


@pytest.mark.parametrize(("importance", "room"), [([0.0, 0.0], [5, 5]), ([1.0, 1.0], [0, 0]), ([], [])])
def test_nobody_to_give_to(importance: list[float], room: list[int]) -> None:
    given_out = allot(4.0, np.array(importance), np.array(room, np.int64))
    assert given_out.amounts.tolist() == [0] * len(room)
    assert given_out.unplaced == 4


def test_no_importance_leaves_the_softmax() -> None:
    """With R = 0 in the softmax the first would get 4 / (1 + e)."""
    assert allot(4.0, np.array([0.0, 1.0]), np.array([9, 9])).amounts.tolist() == [0, 4]


@pytest.mark.parametrize("smallest", [1e-3, 1e-300, 5e-324])
def test_the_softmax_is_safe(smallest: float) -> None:
    with np.errstate(all="raise", under="ignore"):
        found = softmax(ratios(np.array([smallest, 1.0, 1.0])))
    assert found.tolist() == [1, 0, 0]


LAYERS = st.lists(st.tuples(st.floats(0, 1e3), st.integers(0, 10_000)), min_size=1, max_size=12)


@given(LAYERS, st.floats(0, 1))
def test_the_budget_is_given_out_but_for_rounding(layers: list[tuple[float, int]], fraction: float) -> None:
    importance, room = np.array([e for e, _ in layers]), np.array([n for _, n in layers])
    could = int(room[(importance > 0) & (room > 0)].sum())
    budget = fraction * could
    given_out = allot(budget, importance, room)
    assert (given_out.amounts <= room).all()
    assert (given_out.amounts >= 0).all()
    assert budget - given_out.unplaced - len(layers) <= given_out.amounts.sum() <= budget + 1e-6
    if given_out.unplaced > 1e-6 * budget:
        assert given_out.full[(importance > 0) & (room > 0)].all()


@given(LAYERS, st.randoms(use_true_random=False))
def test_the_order_of_layers_does_not_matter(layers: list[tuple[float, int]], random: object) -> None:
    importance, room = np.array([e for e, _ in layers]), np.array([n for _, n in layers])
    order = np.arange(len(layers))
    random.shuffle(order)  # type: ignore[attr-defined]
    one, other = allot(room.sum() / 2, importance, room), allot(room.sum() / 2, importance[order], room[order])
    assert np.abs(one.amounts[order] - other.amounts).max() <= 1
