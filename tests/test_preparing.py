"""Weights fixed and functions inlined on request: the result is compared with the model as it was given."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnx_nepenthe import pipeline, run
from onnx_nepenthe.errors import VerificationError
from onnx_nepenthe.graph import inlining
from onnx_nepenthe.graph.inlining import inline_functions
from onnx_nepenthe.options import Options
from onnx_nepenthe.recipe import replay
from onnx_nepenthe.run import recipe_of
from onnx_nepenthe.session import SessionConfig, open_session
from tests.helpers.build import Builder
from tests.helpers.unharmed import builder
from tests.zoo.foreign import functions


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

    monkeypatch.setattr(inlining, "freeze_initializers", spoiled)
    with pytest.raises(VerificationError, match="verification failed"):
        pipeline.collapse(_model(builder(), 1), "m", OPTIONS)


INLINED = Options(latency="off", inline_functions=True)


def test_functions_are_collapsed_with_what_is_around_them() -> None:
    model = ir.from_proto(functions())
    outcome = pipeline.collapse(model, "m", INLINED)
    assert outcome.model is not None
    assert sorted(node.op_type for node in outcome.model.graph) == ["MatMul", "MatMul", "Sigmoid"]
    assert not outcome.model.functions
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    before, after = (open_session(m, SessionConfig(optimise=False)).run({"x": x})[0] for m in (model, outcome.model))
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_without_the_option_functions_stay_and_a_note_names_it() -> None:
    outcome = pipeline.collapse(ir.from_proto(functions()), "m", Options(latency="off"))
    assert outcome.model is None
    assert "--inline-functions" in outcome.inspection.notes[0]


def test_a_model_without_functions_is_none_the_wiser() -> None:
    model = _model(builder(), 1)
    assert pipeline.collapse(model, "m", INLINED).model is None


def test_inspecting_looks_into_functions() -> None:
    found = pipeline.inspect(ir.from_proto(functions()), "m", INLINED)
    assert [row.rectifier.op for row in found.rows] == ["Relu"]


def test_a_plan_inlines_and_fixes_first() -> None:
    model = functions()
    outcome = run.collapse(model, None, INLINED)[1]
    again = replay(ir.from_proto(model), recipe_of(model, outcome))
    assert ir.to_proto(again).SerializeToString() == ir.to_proto(outcome.model).SerializeToString()


def test_an_inlined_model_that_differs_is_not_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(model: ir.Model) -> ir.Model:
        copy = inline_functions(model)
        weight = next(iter(copy.graph.initializers.values()))
        weight.const_value = ir.tensor(2 * weight.const_value.numpy(), name=weight.name)
        return copy

    monkeypatch.setattr(inlining, "inline_functions", spoiled)
    with pytest.raises(VerificationError, match="verification failed"):
        pipeline.collapse(ir.from_proto(functions()), "m", INLINED)
