"""Random graphs inside the branches of an If stay what they compute; tools/fuzz.py --branches runs more."""

from __future__ import annotations

from functools import cache

import onnx
import pytest

from tests.helpers.branched import check_branched
from tests.zoo.specimen import operators_in

SEEDS = range(40)


@cache
def checked(seed: int) -> tuple[onnx.ModelProto, onnx.ModelProto] | None:
    return check_branched(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_branches_compute_the_same(seed: int) -> None:
    found = checked(seed)
    assert found is None or found[0].graph.node[-1].op_type == "If"


def test_many_bodies_change() -> None:
    pairs = [pair for pair in map(checked, SEEDS) if pair is not None]
    assert sum(operators_in(after) != operators_in(before) for before, after in pairs) > len(SEEDS) / 3
