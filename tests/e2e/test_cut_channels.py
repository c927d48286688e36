"""Constant channels go on the way from model to result: found, timed, verified, reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe import narrowing, pipeline
from onnx_nepenthe.cutting import Cut, apply_cuts
from onnx_nepenthe.errors import VerificationError
from onnx_nepenthe.inspection import find
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.options import LatencyMode, Options
from onnx_nepenthe.outcome import Outcome
from onnx_nepenthe.sources import SourceOptions
from onnx_nepenthe.sources.split import split
from tests.helpers.build import Array, Builder
from tests.helpers.compare import assert_same, feeds_for

SHAPE = ("N", 3, 8, 8)
GONE = (1, 4, 9)


def network(shift: float = -1.0, weights: float = 0.0) -> onnx.ModelProto:
    """conv, relu, max pool, padded conv, relu, 1x1 conv, 1x1 conv; three of the first twelve filters see `weights`."""
    g = Builder(np.random.default_rng(3))
    weight, bias = g.random(12, 3, 3, 3), np.full(12, 0.5, np.float32)
    weight[list(GONE)], bias[list(GONE)] = weights, shift
    y = g.node("Conv", "x", g.constant(weight), g.constant(bias), pads=[1, 1, 1, 1])
    y = g.node("MaxPool", g.node("Relu", y), kernel_shape=[2, 2], strides=[2, 2])
    y = g.node("Relu", g.conv(y, (12, 6), (3, 3), pads=1))
    return g.model({"x": SHAPE}, [g.conv(g.conv(y, (6, 5), (1, 1)), (5, 4), (1, 1))])


def collapse(
    model: onnx.ModelProto, *, latency: LatencyMode = "off", skip: Sequence[str] = (), data: Any = None
) -> Outcome:
    options = Options(data=data, latency=latency, skip=frozenset(skip), source=SourceOptions())
    return pipeline.collapse(ir.from_proto(model), "network", options)


def channels(model: ir.Model) -> list[int]:
    """Filters of each convolution, in order."""
    return [node.inputs[1].shape[0] for node in model.graph if node.op_type == "Conv"]


def dead_on_calibration() -> dict[str, Array]:
    """Only samples that verify switch the three filters on."""
    values = np.random.default_rng(5).standard_normal((40, 3, 8, 8)).astype(np.float32)
    values[list(split(range(40), "verification", 0))] += 20
    return {"x": values}


def test_cut_and_composed() -> None:
    model = network()
    outcome = collapse(model)
    assert outcome.verdict is not None
    assert outcome.verdict.passed
    assert channels(outcome.model) == [9, 6, 4]
    first = outcome.rewrites[0]
    assert first.made == "cut-channels: 3 channels fewer"
    assert len(first.replaced) == 2
    assert len(outcome.rewrites) > 1
    assert outcome.after.size.weight_bytes < outcome.inspection.side.size.weight_bytes
    assert_same(ir.to_proto(outcome.model), model, feeds_for(model, np.random.default_rng(4), {"N": 3}), 1e-5)


def test_cut_alone() -> None:
    outcome = collapse(network(), skip=["Conv"])
    assert outcome.model is None
    g = Builder(np.random.default_rng(3))
    weight = g.random(12, 3, 3, 3)
    weight[5] = 0
    y = g.node("Relu", g.node("Conv", "x", g.constant(weight)))
    outcome = collapse(g.model({"x": SHAPE}, [g.conv(y, (12, 6), (3, 3), pads=1)]))
    assert channels(outcome.model) == [11, 6]
    assert [rewrite.made for rewrite in outcome.rewrites] == ["cut-channels: 1 channel fewer"]
    assert outcome.message == "collapsed"


def test_the_rule_can_be_skipped() -> None:
    outcome = collapse(network(), skip=["cut-channels"])
    assert channels(outcome.model) == [12, 6, 4]
    assert not any("cut-channels" in rewrite.made for rewrite in outcome.rewrites)


def test_what_stays_is_told() -> None:
    (refusal,) = [r for r in collapse(network(shift=1.5)).refusals if r.stage == "channels"]
    assert "border" in refusal.reason


def test_observed_channels_are_cut() -> None:
    values = np.random.default_rng(5).standard_normal((40, 3, 8, 8)).astype(np.float32)
    outcome = collapse(network(-90.0, 0.01), data={"x": values})
    assert channels(outcome.model) == [9, 6, 4]
    assert outcome.verdict is not None
    assert outcome.verdict.passed


def test_channels_that_verification_contradicts_stay() -> None:
    outcome = collapse(network(-1.0, 0.01), data=dead_on_calibration())
    assert channels(outcome.model) == [12, 6, 4]
    (refusal,) = [r for r in outcome.refusals if r.stage == "verification"]
    assert "(3 channels)" in refusal.reason


def test_a_wrong_cut_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: ir.Model, view: Any, cuts: Sequence[Cut]) -> ir.Model:
        made: ir.Model = apply_cuts(model, view, cuts)
        for value in made.graph.initializers.values():
            if cuts and value.name.endswith("_cut"):
                value.const_value = ir.tensor(value.const_value.numpy() * 2, name=value.name)
        return made

    monkeypatch.setattr(narrowing, "apply_cuts", wrong)
    with pytest.raises(VerificationError, match="the culprit is the rewrite that makes v3"):
        collapse(network())


def comparison(speedup: float) -> Comparison:
    return Comparison(1.0, 1 / speedup, speedup, speedup * 0.99, speedup * 1.01, 0.99, 1.01, 9, "CPU", 1)


@pytest.mark.parametrize(
    ("speedups", "wanted"), [((1.2, 1.0), 9), ((0.8, 1.1), 10), ((1.0, 1.3), 10), ((1.0, 1.0), 9), ((0.8, 0.9), 12)]
)
def test_latency_decides(monkeypatch: pytest.MonkeyPatch, speedups: tuple[float, float], wanted: int) -> None:
    """Nine channels or, as a multiple of five, ten: whichever is faster and not slower than all twelve."""
    times = iter(speedups)
    monkeypatch.setattr(narrowing, "compare_models", lambda *_: comparison(next(times)))
    monkeypatch.setattr(narrowing, "MULTIPLES", (1, 5))
    findings = find(ir.from_proto(network()), Options())
    found = narrowing.narrow(findings, Options(), {"x": np.zeros((1, 3, 8, 8), np.float32)})
    assert channels(found.findings.model)[0] == wanted
    assert [r.stage for r in found.refusals].count("latency") == (wanted == 12)


def test_measured_models_are_compared_with_the_input() -> None:
    outcome = collapse(network(), latency="measured")
    if outcome.model is not None:
        assert outcome.latency is not None
        assert not outcome.latency.is_slower
