"""Found by random networks: a line that stays is named, with the reason."""

from __future__ import annotations

import numpy as np

from onnx_nepenthe.linearise import Decision
from tests.helpers.build import Builder
from tests.helpers.collapsing import assert_equal, collapse, removed
from tests.helpers.compare import feeds_for


def test_a_line_between_operators_that_take_none_is_refused_by_name() -> None:
    """Half of the channels are always on, the others always off; a product per channel is no cheaper than Relu."""
    g = Builder(np.random.default_rng(0))
    weight, bias = g.constant(g.random(2, 4, 2, 2)), g.constant(np.array([90, -90, 90, -90], np.float32))
    up = g.node("ConvTranspose", "x", weight, bias, kernel_shape=[2, 2], strides=[2, 2])
    line = g.node("Relu", up)
    curve = g.node("Relu", g.conv(g.node("MaxPool", line, kernel_shape=[2, 2]), (4, 3), (1, 1)))
    model = g.model({"x": ["N", 2, 4, 4]}, [g.gemm(g.gemm(g.node("Flatten", curve), (147, 3)), (3, 2))])
    x = np.random.default_rng(1).uniform(-1, 1, (20, 2, 4, 4)).astype(np.float32)
    outcome = collapse(model, data={"x": x})
    assert_equal(outcome, model, feeds_for(model, np.random.default_rng(2), {"N": 2}), 1e-3)
    row = next(row for row in outcome.inspection.rows if row.rectifier.key == line)
    assert isinstance(row.found, Decision)
    assert row.rectifier.label not in removed(outcome)
    (named,) = [refusal for refusal in outcome.refusals if refusal.where == row.rectifier.label]
    assert named.stage == "composition"
    assert "no operator beside it" in named.reason
