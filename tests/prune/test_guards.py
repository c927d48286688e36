"""What guards keep, and that they say so."""

from __future__ import annotations

import numpy as np

from onnx_nepenthe.prune.guards import guarded, last_of_path, room
from tests.helpers.pruned import layer

WEIGHT = np.arange(1.0, 21.0).reshape(4, 5)
NOTHING = np.zeros((4, 5), bool)


def test_room() -> None:
    free, alone = layer("a", WEIGHT), layer("b", WEIGHT, has_bypass=False)
    few = layer("c", WEIGHT, has_bypass=False, mask=WEIGHT > 19)
    assert room([free, alone, few], True, 0.1).tolist() == [20, 18, 0]
    assert room([free, alone, few], True).tolist() == [20, 19, 0]
    assert room([free, alone, few], False, 0.1).tolist() == [20, 20, 1]


def test_the_last_layer_of_the_path_is_the_last_without_a_bypass() -> None:
    free, alone = layer("a", WEIGHT), layer("b", WEIGHT, has_bypass=False)
    assert last_of_path([free, alone]) is alone
    assert last_of_path([alone, free]) is None
    assert last_of_path([]) is None


def test_the_largest_weight_stays_where_a_layer_would_go() -> None:
    alone = layer("b", WEIGHT, has_bypass=False)
    masks, (note,) = guarded([alone], [NOTHING], True)
    assert np.argwhere(masks["b.feeder"]).tolist() == [[3, 4]]
    assert (note.layer, note.reason) == ("b", "no signal gets around it: 1 of 20 weights stay (guard)")
    masks, notes = guarded([alone], [NOTHING], False)
    assert not masks["b.feeder"].any()
    assert notes == ()


def test_a_layer_with_a_bypass_may_go() -> None:
    masks, notes = guarded([layer("a", WEIGHT)], [NOTHING], True)
    assert not masks["a.feeder"].any()
    assert notes == ()


def test_masks_that_do_not_change_are_left_out() -> None:
    assert guarded([layer("a", WEIGHT)], [np.ones((4, 5), bool)], True) == ({}, ())
