"""A collapse from a measurement without its data: what was observed is taken for granted, the rest is verified."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from onnx_nepenthe import rewrite
from onnx_nepenthe.affine.maps import Conv, Dense
from onnx_nepenthe.assuming import assumed, assumed_result
from onnx_nepenthe.cutting import find_cuts
from onnx_nepenthe.emit import emit
from onnx_nepenthe.errors import VerificationError
from onnx_nepenthe.measure import Measurement
from onnx_nepenthe.outcome import Outcome
from onnx_nepenthe.session import Session, open_session
from tests.helpers.build import Array, Builder
from tests.helpers.collapsing import CONFIG, collapse, findings, removed

GONE = (1, 4)


def samples(shape: tuple[int, ...] = (40, 4)) -> Array:
    return np.random.default_rng(1).uniform(0.5, 1, shape).astype(np.float32)


def measured(model: onnx.ModelProto, x: Array, **options: Any) -> Measurement:
    found = findings(model, data={"x": x}, **options).measurement
    assert found is not None
    return found


def chain(op: str = "Relu", **attributes: Any) -> onnx.ModelProto:
    """A rectifier that is a line on positive samples, some channels on and some off, and one behind a Gemm."""
    g = Builder(np.random.default_rng(0))
    y = g.node("Mul", "x", g.constant(np.array([1, 2, -1, -2], np.float32)))
    y = g.node(op, y, out="line", **attributes)
    y = g.node("Relu", g.gemm(y, (4, 5)), out="second")
    return g.model({"x": ["N", 4]}, [g.gemm(g.gemm(y, (5, 4)), (4, 3))])


@pytest.mark.parametrize(("op", "attributes"), [("Relu", {}), ("LeakyRelu", {"alpha": 0.1}), ("HardSigmoid", {})])
def test_random_input_does_not_contradict_what_was_measured(op: str, attributes: Any) -> None:
    model, x = chain(op, **attributes), samples() * 0.1
    outcome = collapse(model, measurement=measured(model, x))
    assert outcome.verdict is not None
    assert outcome.verdict.passed
    assert "what was measured taken for granted" in outcome.verdict.source
    with_data = collapse(model, data={"x": x})
    assert removed(outcome) == removed(with_data) != []
    assert [r.replaced for r in outcome.rewrites] == [r.replaced for r in with_data.rewrites]


def dead() -> onnx.ModelProto:
    """Two filters of eight are off on small input, and not on large; the rectifier changes otherwise."""
    g = Builder(np.random.default_rng(3))
    weight, bias = g.random(8, 3, 3, 3) * 0.3, np.zeros(8, np.float32)
    bias[list(GONE)] = -1.0
    y = g.node("Relu", g.node("Conv", "x", g.constant(weight), g.constant(bias), pads=[1, 1, 1, 1]), out="r")
    return g.model({"x": ["N", 3, 6, 6]}, [g.conv(y, (8, 4), (3, 3), pads=1)])


def small(count: int = 40) -> Array:
    return 0.1 * np.random.default_rng(5).standard_normal((count, 3, 6, 6)).astype(np.float32)


def test_channels_that_were_cut_are_taken_for_what_they_were() -> None:
    model = dead()
    outcome = collapse(model, measurement=measured(model, small()))
    assert [rewrite.made for rewrite in outcome.rewrites] == ["cut-channels: 2 channels fewer"]
    assert outcome.verdict is not None
    assert outcome.verdict.passed


def run(model: Any, x: Array) -> Array:
    session: Session = open_session(model, CONFIG)
    (result,) = session.run({"x": x})
    return result


def test_assumed_models_agree_with_the_input_where_the_measurement_holds_and_only_there() -> None:
    model = dead()
    found = findings(model, data={"x": small()})
    assert found.measurement is not None
    cuts = find_cuts(found.view, found.linearised, found.proofs, found.measurement.counts).cuts
    as_seen = assumed(found, cuts)
    np.testing.assert_allclose(run(as_seen, small()), run(found.model, small()), atol=1e-5)
    assert np.abs(run(as_seen, 30 * small()) - run(found.model, 30 * small())).max() > 0.1


def test_lines_that_stay_in_the_result_are_lines_there_too() -> None:
    g = Builder(np.random.default_rng(0))
    line = g.node("LeakyRelu", g.node("MaxPool", "x", kernel_shape=[2, 2]), alpha=0.1)
    pool = g.node("MaxPool", line, kernel_shape=[2, 2])
    model = g.model({"x": ["N", 2, 4, 4]}, [g.conv(g.conv(pool, (2, 8), (1, 1)), (8, 2), (1, 1))])
    x = samples((20, 2, 4, 4))
    x[:, 1] *= -1
    outcome = collapse(model, measurement=measured(model, x))
    assert outcome.is_collapsed
    assert removed(outcome) == []
    found = findings(model, data={"x": x})
    assert "LeakyRelu" not in [node.op_type for node in assumed_result(found, (), found.model).graph]


def spoil(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> str:
    made = outcome.rewrites[-1].value

    def wrong(form: Any, source: Any, target: Any) -> Any:
        core = form.core
        assert isinstance(core, Dense | Conv)
        return emit(replace(form, core=replace(core, bias=core.bias + 0.1)), source, target)

    monkeypatch.setattr(rewrite, "emit", wrong)
    return made


def test_a_wrong_rewrite_is_still_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    g = Builder(np.random.default_rng(0))
    y = g.node("Relu", g.gemm("x", (4, 5)), out="line")
    model = g.model({"x": ["N", 4]}, [g.gemm(y, (5, 3))])
    found = measured(model, np.zeros((20, 4), np.float32) + samples((1, 4)))
    name = spoil(monkeypatch, collapse(model, measurement=found))
    with pytest.raises(VerificationError, match=f"the rewrite that makes {re.escape(name)};"):
        collapse(model, measurement=found)
