"""Neighbours that cannot join say why, once, and what would help."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
import pytest

from onnx_nepenthe.affine.grids import BORDER
from tests.helpers.build import Builder
from tests.helpers.collapsing import collapse


def convolutions(*pads: int, between: str = "") -> onnx.ModelProto:
    """3×3 convolutions in a row, with so much padding; `between` them an operator of one input."""
    g = Builder(np.random.default_rng(0))
    y = "x"
    for at, pad in enumerate(pads):
        y = g.conv(y, (2, 2), (3, 3), pads=pad)
        y = g.node(between, y) if between and at + 1 < len(pads) else y
    return g.model({"x": [1, 2, 16, 16]}, [y])


def borders(model: onnx.ModelProto) -> list[str]:
    """Where a border keeps two operators apart."""
    refusals = collapse(model, latency="off").refusals
    assert {r.stage for r in refusals if r.reason == BORDER.reason} <= {"composition"}
    return [r.where for r in refusals if (r.reason, r.lift) == (BORDER.reason, BORDER.lift)]


def test_two_padded_convolutions_stay_apart_and_say_what_would_help() -> None:
    model = convolutions(1, 1)
    first, second = (node.name for node in model.graph.node)
    assert borders(model) == [f"{first} + {second}"]


def test_padding_on_the_first_alone_is_no_reason() -> None:
    assert borders(convolutions(2, 0)) == []


def test_a_nonlinear_operator_between_them_is_another_reason() -> None:
    assert borders(convolutions(1, 1, between="Sigmoid")) == []


@pytest.mark.parametrize("count", [3, 4])
def test_each_pair_of_neighbours_is_named_once(count: int) -> None:
    model = convolutions(*[1] * count)
    names = [node.name for node in model.graph.node]
    assert borders(model) == [f"{a} + {b}" for a, b in pairwise(names)]
