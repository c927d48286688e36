"""Random graphs stay what they compute; tools/fuzz.py runs as many as one likes."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.check_random import Tally, check_sample, draw_sample
from tests.helpers.random_operators import OPERATORS

ONCE_WRONG = {
    144: "a Conv in double, which onnxruntime has no kernel for",
    813: "a Constant of int64 before opset 9",
    1009: "ConstantOfShape before opset 9",
}
"""Seeds that found an error, and which."""


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_a_collapsed_graph_computes_the_same(source: random.Random) -> None:
    check_sample(draw_sample(source), Tally())


@pytest.mark.parametrize("seed", ONCE_WRONG)
def test_graphs_that_were_wrong_once(seed: int) -> None:
    check_sample(draw_sample(random.Random(seed)), Tally())


def test_graphs_are_varied_and_mostly_change() -> None:
    tally = Tally()
    for seed in range(60):
        check_sample(draw_sample(random.Random(seed)), tally)
    assert tally.changed > 30
    assert tally.after.total() < 0.8 * tally.before.total()
    assert len(tally.before) > 25
    assert min(tally.runs["onnxruntime"], tally.runs["onnx.reference"]) > 40


def test_every_operator_is_drawn_by_its_weight() -> None:
    assert len(set(OPERATORS.values())) > 20
