"""What was measured and decided before still holds for the channels that stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnx_nepenthe.cutting import cut_counts, cut_linearised
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.linearise import UNDECIDED
from onnx_nepenthe.rectifiers import find_rectifiers
from tests.helpers.build import Builder
from tests.helpers.compare import feeds_for
from tests.helpers.cutting import counts_of, cut
from tests.helpers.reference import reference_values


def decided(g: Builder, x: str, biases: list[float], sizes: tuple[int, int], slope: float) -> str:
    """Filters so small that the biases decide."""
    weight = 1e-3 * g.random(sizes[1], sizes[0], 3, 3)
    z = g.node("Conv", x, g.constant(weight), g.constant(np.array(biases, np.float32)), pads=[1, 1, 1, 1])
    slopes = np.array([0.0 if bias < 0 else slope for bias in biases], np.float32)
    return g.node("PRelu", z, g.constant(slopes.reshape(-1, 1, 1)))


def test_counts_and_decisions_lose_the_same_channels() -> None:
    g = Builder(np.random.default_rng(3))
    mixed = decided(g, "x", [-9, 0, 9, -9, 0], (4, 5), 0.5)
    lines = decided(g, mixed, [9, -9, 9, -9], (5, 4), 0.5)
    model = g.model({"x": (2, 4, 6, 5)}, [g.conv(lines, (4, 3), (3, 3))])
    feeds = feeds_for(model, np.random.default_rng(4), {})
    found = cut(model, [reference_values(model, feeds)])
    assert set(found.linearised.undecided) == {mixed}
    assert set(found.linearised.decisions) == {lines}
    after = found.model()
    view = view_from_model(ir.from_proto(after))
    carried = cut_linearised(found.linearised, view, found.plan.cuts)
    assert carried.undecided[mixed].pieces.tolist() == [UNDECIDED, 1, UNDECIDED]
    assert carried.undecided[mixed].rectifier.channels == 3
    decision = carried.decisions[lines]
    assert (decision.pieces.tolist(), decision.slope.tolist(), decision.axis) == ([1, 1], [1.0], None)
    values = reference_values(after, feeds)
    counts = cut_counts(found.counts, found.plan.cuts)
    for rectifier in find_rectifiers(view)[0]:
        wanted = counts_of([values[rectifier.operand]], rectifier.activation, 1, rectifier.channels or 0)
        np.testing.assert_array_equal(counts[rectifier.key].counts, wanted.counts)
        np.testing.assert_array_equal(counts[rectifier.key].ties, wanted.ties)
        np.testing.assert_allclose(counts[rectifier.key].low, wanted.low, rtol=1e-5)
        np.testing.assert_allclose(counts[rectifier.key].high, wanted.high, rtol=1e-5)


def test_without_cuts_nothing_changes() -> None:
    g = Builder(np.random.default_rng(3))
    model = g.model({"x": (2, 4, 6, 5)}, [g.node("Sigmoid", g.node("Relu", g.conv("x", (4, 3), (3, 3))))])
    found = cut(model, [reference_values(model, feeds_for(model, np.random.default_rng(4), {}))])
    assert cut_linearised(found.linearised, found.view, ()) == found.linearised
    assert cut_counts(found.counts, ()) == found.counts
