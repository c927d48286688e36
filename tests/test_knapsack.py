"""The 0/1 program against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_nepenthe.knapsack import SMALLEST_PRICE, least_drop, most_gain
from onnx_nepenthe.substitutes import Substitute

_ITEM = st.tuples(
    st.frozensets(st.sampled_from("abcdef"), min_size=1, max_size=3),
    st.integers(1, 20),
    st.integers(0, 10),
)


def _substitutes(items: list[tuple[frozenset[str], int, int]]) -> list[Substitute]:
    return [Substitute(f"s{i}", f"t{i}", "conv3", ops, ops) for i, (ops, _, _) in enumerate(items)]


def _possible(items: list[tuple[frozenset[str], int, int]]) -> list[tuple[int, ...]]:
    sets = [s for n in range(len(items) + 1) for s in combinations(range(len(items)), n)]
    return [s for s in sets if all(not items[a][0] & items[b][0] for a, b in combinations(s, 2))]


@settings(max_examples=60, deadline=None)
@given(st.lists(_ITEM, max_size=6), st.integers(0, 15))
def test_most_gain_is_optimal(items: list[tuple[frozenset[str], int, int]], budget: int) -> None:
    gains, drops = [i[1] for i in items], [i[2] for i in items]
    chosen = most_gain(_substitutes(items), gains, drops, budget)
    allowed = [s for s in _possible(items) if sum(max(drops[i], SMALLEST_PRICE) for i in s) <= budget]
    assert chosen in allowed
    assert sum(gains[i] for i in chosen) == max(sum(gains[i] for i in s) for s in allowed)


@settings(max_examples=60, deadline=None)
@given(st.lists(_ITEM, max_size=6), st.integers(1, 30))
def test_least_drop_is_optimal(items: list[tuple[frozenset[str], int, int]], wanted: int) -> None:
    gains, drops = [i[1] for i in items], [i[2] for i in items]
    chosen = least_drop(_substitutes(items), gains, drops, wanted)
    enough = [s for s in _possible(items) if sum(gains[i] for i in s) >= wanted]
    if not enough:
        assert chosen == ()
        return
    price = [max(d, SMALLEST_PRICE) for d in drops]
    assert chosen in enough
    np.testing.assert_allclose(sum(price[i] for i in chosen), min(sum(price[i] for i in s) for s in enough), atol=1e-6)
