"""Weights that are graph inputs, fixed on request: the result is compared with the model as it was given."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnx_nepenthe import freezing, pipeline
from onnx_nepenthe.errors import VerificationError
from onnx_nepenthe.options import Options
from onnx_nepenthe.session import SessionConfig, open_session
from tests.helpers.build import Builder
from tests.helpers.unharmed import builder


def _model(g: Builder, convolutions: int) -> ir.Model:
    value = "x"
    for _ in range(convolutions):
        value = g.node("Conv", value, g.constant(g.random(4, 4, 1, 1), home="input"))
    y = g.node("Relu", value)
    return ir.from_proto(g.model({"x": ["N", 4, 5, 5]}, [y]))


OPTIONS = Options(latency="off", freeze_initializers=True)


@pytest.mark.parametrize(("convolutions", "left"), [(2, 1), (1, 1)])
def test_weights_are_constants_in_the_result(convolutions: int, left: int) -> None:
    model = _model(builder(), convolutions)
    assert len(model.graph.inputs) == 1 + convolutions
    outcome = pipeline.collapse(model, "m", OPTIONS)
    assert outcome.model is not None
    assert [value.name for value in outcome.model.graph.inputs] == ["x"]
    assert [node.op_type for node in outcome.model.graph].count("Conv") == left
    assert outcome.verdict is not None
    assert outcome.verdict.passed
    x = np.random.default_rng(0).standard_normal((3, 4, 5, 5)).astype(np.float32)
    before, after = (open_session(m, SessionConfig(optimise=False)).run({"x": x})[0] for m in (model, outcome.model))
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_without_the_option_they_stay_inputs() -> None:
    outcome = pipeline.collapse(_model(builder(), 2), "m", Options(latency="off"))
    assert outcome.model is None


def test_a_frozen_model_that_differs_is_not_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(model: ir.Model) -> ir.Model:
        copy = model.clone()
        copy.graph.inputs[:] = [value for value in copy.graph.inputs if value.name == "x"]
        weight = next(iter(copy.graph.initializers.values()))
        weight.const_value = ir.tensor(2 * weight.const_value.numpy(), name=weight.name)
        return copy

    monkeypatch.setattr(freezing, "freeze_initializers", spoiled)
    with pytest.raises(VerificationError, match="verification failed"):
        pipeline.collapse(_model(builder(), 1), "m", OPTIONS)
