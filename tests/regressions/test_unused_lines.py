"""Found by random networks: a line that stays is named, with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_nepenthe.linearise import Decision
from tests.helpers.build import Builder
from tests.helpers.collapsing import assert_equal, collapse, removed


@pytest.mark.parametrize("latency", ["off", "macs"])
def test_a_line_between_operators_that_take_none_is_refused_by_name(latency: str) -> None:
    """One channel is always on, the other always off; a product per channel is no cheaper than LeakyRelu."""
    g = Builder(np.random.default_rng(0))
    line = g.node("LeakyRelu", g.node("MaxPool", "x", kernel_shape=[2, 2]), alpha=0.1)
    pool = g.node("MaxPool", line, kernel_shape=[2, 2])
    model = g.model({"x": ["N", 2, 4, 4]}, [g.conv(g.conv(pool, (2, 8), (1, 1)), (8, 2), (1, 1))])
    x = np.random.default_rng(1).uniform(1, 2, (20, 2, 4, 4)).astype(np.float32)
    x[:, 1] *= -1
    outcome = collapse(model, data={"x": x}, latency=latency)
    assert_equal(outcome, model, {"x": x[:2]})
    (row,) = outcome.inspection.rows
    assert isinstance(row.found, Decision)
    assert removed(outcome) == []
    (named,) = [refusal for refusal in outcome.refusals if refusal.where == row.rectifier.label]
    assert named.stage == "composition"
    assert "no operator beside it" in named.reason
