"""Which weights go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_nepenthe.prune.masking import (
    prunable,
    rows_without_smallest,
    smallest,
    without_smallest,
    without_smallest_of_all,
)
from tests.helpers.pruned import layer

MASK = np.array([[True, False, True], [True, True, True]])
WEIGHT = [[-3.0, 0.0, 1.0], [0.5, -2.0, 4.0]]


@pytest.mark.parametrize(("amount", "left"), [(0, 6), (-2, 6), (2, 4), (6, 0), (9, 0)])
def test_how_many_go(amount: int, left: int) -> None:
    assert np.count_nonzero(~smallest(np.arange(6.0), amount)) == left


def test_the_smallest_magnitude_goes_and_what_is_gone_stays_gone() -> None:
    one = layer("a", WEIGHT, mask=MASK)
    assert without_smallest(one, 2).tolist() == [[True, False, False], [False, True, True]]
    assert one.mask.tolist() == MASK.tolist()


def test_in_each_row_apart() -> None:
    one = layer("a", WEIGHT, mask=MASK)
    assert rows_without_smallest(one, np.array([1, 1])).tolist() == [[True, False, False], [False, True, True]]
    assert rows_without_smallest(one, np.array([2, 0])).tolist() == [[False, False, False], [True, True, True]]


def test_over_all_layers() -> None:
    masks = without_smallest_of_all([layer("a", [[1.0, 4.0]]), layer("b", [[3.0], [2.0]])], 2)
    assert [mask.tolist() for mask in masks] == [[[False, True]], [[True], [False]]]
    assert without_smallest_of_all([], 3) == []


def test_only_weights_that_are_left_are_prunable_and_each_feeder_once() -> None:
    one, again = layer("a", WEIGHT), layer("b", WEIGHT, feeder="a.feeder")
    empty, fed_by_none = layer("c", WEIGHT, mask=np.zeros((2, 3), bool)), layer("d", WEIGHT, feeder=None)
    assert prunable([one, again, empty, fed_by_none]) == [one]


@given(st.lists(st.floats(0, 4).map(round), max_size=40), st.integers(0, 45))
def test_smallest_is_what_a_stable_sort_says(values: list[float], amount: int) -> None:
    size = np.array(values, np.float64)
    expected = np.zeros(len(size), bool)
    expected[np.argsort(size, kind="stable")[:amount]] = True
    assert smallest(size, amount).tolist() == expected.tolist()
