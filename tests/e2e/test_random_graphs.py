"""Random graphs stay what they compute; tools/fuzz.py runs as many as one likes.

What they found is in tests/regressions/test_found_by_random_graphs.py.
"""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.check_random import Tally, check_sample, draw_sample
from tests.helpers.random_operators import OPERATORS


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_a_collapsed_graph_computes_the_same(source: random.Random) -> None:
    check_sample(draw_sample(source), Tally())


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
