"""NEPENTHE against numbers worked out by hand; what it shares with EGP is tested there."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.prune.methods.nepenthe import NepentheConfig, neuron_magnitude, propose
from tests.helpers.pruned import context, counts, gone, layer

PAPER = NepentheConfig(guard=False)


def test_magnitude_is_averaged_per_neuron_first() -> None:
    """Row means over non-zeros are 2 and 5: 3.5, where the mean of all three weights is 3. An empty row counts 0."""
    one = layer("a", [[1.0, -3.0], [9.0, 5.0]], mask=np.array([[True, True], [False, True]]))
    assert neuron_magnitude(one) == 3.5
    assert neuron_magnitude(layer("a", [[1.0, 3.0], [0.0, 0.0]])) == 1


def test_a_budget_shared_out_by_hand() -> None:
    """I = 1 · 3.5 and 1 · 7, nnz = 3 and 29, B = 16: R = 3, 1.5, softmax = .81757, .18243 → 13.1, 2.9.

    The first has 3 weights only; the other gets the 13 that are left.
    """
    mask = np.array([[True, True], [False, True]])
    layers = [layer("a", [[1.0, -3.0], [9.0, 5.0]], mask=mask), layer("b", np.full((1, 29), 7.0))]
    masks = propose(PAPER, layers, context()).masks
    assert [gone(one, masks) for one in layers] == [3, 13]


def test_a_budget_with_room_for_all_by_hand() -> None:
    """As above, but H(1/4) = .81128 for b: I = 3.5, 5.679; R = 2.6225, 1.6163; softmax = .73228, .26772 of 20."""
    layers = [layer("a", np.full((2, 10), 3.5)), layer("b", np.full((1, 20), 7.0), counts([1], [3]))]
    masks = propose(PAPER, layers, context()).masks
    assert [gone(one, masks) for one in layers] == [14, 5]


def test_ties_are_dropped() -> None:
    one = layer("a", np.ones((1, 4)), counts([0], [1], ties=[1]))
    assert propose(PAPER, [one], context()).linear == ("a",)


def test_a_layer_whose_z_is_always_zero_becomes_a_line() -> None:
    one = layer("a", np.ones((1, 4)), counts([0], [0], ties=[7]))
    assert propose(PAPER, [one], context()).linear == ("a",)


def test_the_layer_average_is_over_neurons_with_entropy() -> None:
    """Neurons with H = 1 and 0: H_l = 1, so that both layers are alike and get half of B = 8 each."""
    mixed, even = layer("a", np.ones((2, 4)), counts([1, 0], [1, 2])), layer("b", np.ones((2, 4)))
    masks = propose(PAPER, [mixed, even], context()).masks
    assert [gone(one, masks) for one in (mixed, even)] == [4, 4]


@pytest.mark.parametrize("round_number", [1, 9, 10, 500])
def test_only_the_threshold_of_the_loop_ends_it(round_number: int) -> None:
    assert propose(PAPER, [layer("a", np.ones((2, 4)))], context(round_number)).done == ""
