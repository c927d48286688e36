"""Classes of channels: tied, kept, told apart."""

from __future__ import annotations

import numpy as np

from onnx_nepenthe.cutting.lanes import Classes, least_seen


def test_a_reason_to_stay_holds_for_all_that_are_tied() -> None:
    classes = Classes()
    one, other = classes.fresh(3), classes.fresh(3)
    classes.keep(other[1:2], "first")
    classes.tie(one, other)
    classes.keep(one[1:2], "second")
    assert [classes.reason(c) for c in one.tolist()] == ["", "first", ""]
    assert classes.is_free(other).tolist() == [True, False, True]
    assert classes.roots(one).tolist() == classes.roots(other).tolist()


def test_the_reason_of_either_side_survives() -> None:
    for side in (0, 1):
        classes = Classes()
        sides = classes.fresh(1), classes.fresh(1)
        classes.keep(sides[side], "held")
        classes.tie(*sides)
        assert classes.reason(int(sides[1 - side][0])) == "held"


def test_ties_chain() -> None:
    classes = Classes()
    rows = [classes.fresh(2) for _ in range(4)]
    for one, other in ((0, 1), (2, 3), (1, 3)):
        classes.tie(rows[one], rows[other])
    assert len({tuple(classes.roots(row).tolist()) for row in rows}) == 1


def test_no_data_is_the_best_evidence() -> None:
    assert least_seen(np.array([0, 0, 7, 9]), np.array([0, 5, 0, 3])).tolist() == [0, 5, 7, 3]
