"""Candidates: planned by the prices asked for, and only timed when they are to be."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnx_nepenthe import candidate as module
from onnx_nepenthe import narrowing, trial
from onnx_nepenthe.candidate import Candidate, make_candidate
from onnx_nepenthe.costs import MeasuredCosts
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.prices import EveryExact, MultiplyAdds
from tests.helpers.build import Builder
from tests.helpers.collapsing import findings, options
from tests.helpers.compare import operators


def builder() -> Builder:
    return Builder(np.random.default_rng(0))


def comparison(speedup: float) -> Comparison:
    return Comparison(1.0, 1 / speedup, speedup, speedup - 0.01, speedup + 0.01, 0.99, 1.01, 9, "cpu", 1)


def candidate(model: onnx.ModelProto, **given: Any) -> Candidate:
    return make_candidate(findings(model, **given), options(**given))


def chain(*features: int) -> onnx.ModelProto:
    g = builder()
    y = "x"
    for pair in pairwise(features):
        y = g.gemm(y, pair)
    return g.model({"x": ["N", features[0]]}, [g.node("Tanh", y)])


def no_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (trial, module, narrowing):
        for name in ("compare", "compare_models", "try_regions"):
            if hasattr(place, name):
                monkeypatch.setattr(place, name, lambda *_, **__: pytest.fail("timed"))


def timings(monkeypatch: pytest.MonkeyPatch, region: float, whole: float) -> None:
    """Operators cost what they have multiply-adds; regions and the whole gain what is said."""
    monkeypatch.setattr(module, "MeasuredCosts", lambda model, view, table, dims: MultiplyAdds(dims))
    monkeypatch.setattr(trial, "compare", lambda *_, **__: comparison(region))
    monkeypatch.setattr(module, "compare_models", lambda *_, **__: comparison(whole))


@pytest.mark.parametrize("latency", ["off", "macs"])
def test_nothing_is_timed_unless_asked_for(monkeypatch: pytest.MonkeyPatch, latency: str) -> None:
    no_timing(monkeypatch)
    made = candidate(chain(4, 64, 4), latency=latency)
    assert operators(ir.to_proto(made.model)) == {"Gemm": 1, "Tanh": 1}
    assert (made.latency, made.speedups, made.refusals) == (None, {}, ())


def test_off_takes_what_multiply_adds_would_not() -> None:
    """400 → 1 → 400 features as one product are 200 times the work."""
    assert candidate(chain(400, 1, 400), latency="off").model is not None
    made = candidate(chain(400, 1, 400), latency="macs")
    assert (made.model, made.regions) == (None, ())


def test_nothing_to_do_is_no_model() -> None:
    g = builder()
    made = candidate(g.model({"x": ["N", 4]}, [g.node("Tanh", "x")]))
    assert (made.model, made.regions, made.refusals) == (None, (), ())


def test_sizes_are_those_of_a_run() -> None:
    model = chain(4, 64, 4)
    data = {"x": np.ones((20, 4), np.float32)}
    assert candidate(model, latency="macs", latency_batch=3).dims["N"] == 3
    assert candidate(model, latency="macs", data=data, latency_batch=5).dims["N"] == 5
    assert candidate(model, latency="off").dims == {}


def test_multiply_adds_depend_on_the_size_of_the_run() -> None:
    """64 → 8 → 64 features as one product are four times the work; one operator less pays for it in small batches."""
    prices = []
    for batch in (1, 64):
        made = candidate(chain(64, 8, 64), latency="macs", latency_batch=batch)
        prices.append(made.model is not None)
    assert prices == [True, False]


def test_what_was_not_read_is_refused_by_name() -> None:
    g = builder()
    model = g.model({"x": ["N", 4], "w": [4, 4]}, [g.node("Gemm", "x", "w")])
    (refusal,) = candidate(model).refusals
    assert (refusal.where, refusal.stage) == (model.graph.node[0].name, "reader")


def test_a_faster_region_is_taken_with_its_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    timings(monkeypatch, 1.5, 1.3)
    made = candidate(chain(4, 64, 4), latency="measured")
    (region,) = made.regions
    assert made.speedups == {region.name: 1.5}
    assert made.latency == comparison(1.3)
    assert made.refusals == ()
    assert operators(ir.to_proto(made.model)) == {"Gemm": 1, "Tanh": 1}


def test_a_slower_region_is_refused_with_its_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    timings(monkeypatch, 0.5, 1.3)
    model = chain(4, 64, 4)
    made = candidate(model, latency="measured")
    assert (made.model, made.regions, made.latency) == (None, (), None)
    (refusal,) = made.refusals
    assert refusal.where == " + ".join(node.name for node in model.graph.node[:2])
    assert (refusal.stage, refusal.lift) == ("latency", "--latency off takes it all the same")
    assert "0.50x" in refusal.reason


def test_a_region_without_which_the_whole_is_faster_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    timings(monkeypatch, 1.5, 0.9)
    made = candidate(chain(4, 64, 4), latency="measured")
    assert made.model is None
    (refusal,) = made.refusals
    assert "put back" in refusal.reason


def test_long_regions_are_named_by_their_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    timings(monkeypatch, 0.5, 1.0)
    model = chain(4, 64, 4, 64, 4, 64, 4)
    (refusal,) = candidate(model, latency="measured").refusals
    names = [node.name for node in model.graph.node]
    assert refusal.where == f"{names[0]} + {names[1]} … {names[5]} (6)"


def test_a_model_that_does_not_run_is_planned_by_multiply_adds() -> None:
    model = chain(4, 64, 4)
    model.graph.node[-1].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    for latency in ("measured", "macs"):
        made = candidate(model, latency=latency)
        assert made.model is not None
        (refusal,) = [r for r in made.refusals if r.stage == "model"]
        assert "com.example" in refusal.reason
    assert not [r for r in candidate(model, latency="off").refusals if r.stage == "model"]


def test_a_model_that_takes_text_is_planned_by_multiply_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    no_timing(monkeypatch)
    g = builder()
    y = g.gemm(g.gemm("x", (4, 64)), (64, 4))
    model = g.model({"x": ["N", 4]}, [y])
    model.graph.input.append(helper.make_tensor_value_info("text", TensorProto.STRING, ["N"]))
    model.graph.output.append(helper.make_tensor_value_info("same", TensorProto.STRING, ["N"]))
    model.graph.node.append(helper.make_node("Identity", ["text"], ["same"]))
    made = candidate(model, latency="measured")
    assert operators(ir.to_proto(made.model)) == {"Gemm": 1, "Identity": 1}
    assert made.latency is None


def test_skipped_operators_stay() -> None:
    assert candidate(chain(4, 64, 4), skip=frozenset({"Gemm"})).model is None


def test_the_costs_asked_for_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[type] = []
    plan = module.plan

    def spy(atlas: Any, costs: Any) -> Any:
        used.append(type(costs))
        return plan(atlas, costs)

    monkeypatch.setattr(module, "plan", spy)
    monkeypatch.setattr(trial, "compare", lambda *_, **__: comparison(1.5))
    monkeypatch.setattr(module, "compare_models", lambda *_, **__: comparison(1.5))
    for latency in ("off", "macs", "measured"):
        candidate(chain(4, 64, 4), latency=latency)
    assert used == [EveryExact, MultiplyAdds, MeasuredCosts]
