"""After the rewrite: what data contradict is taken back, what is wrong is never handed out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from onnx_nepenthe import rewrite
from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import Conv, Dense
from onnx_nepenthe.candidate import make_candidate
from onnx_nepenthe.checking import blame, check, take_back
from onnx_nepenthe.emit import emit
from onnx_nepenthe.errors import UsageError, VerificationError
from onnx_nepenthe.linearise import UNDECIDED, Decision, Undecided
from tests.helpers.build import Array, Builder
from tests.helpers.collapsing import assert_equal, collapse, findings, flipping, options, removed
from tests.helpers.compare import feeds_for, operators

FEATURES = 4


def builder() -> Builder:
    return Builder(np.random.default_rng(0))


def samples(count: int = 40, features: int = FEATURES) -> Array:
    return np.random.default_rng(1).uniform(0.5, 1, (count, features)).astype(np.float32)


def flipping_net() -> onnx.ModelProto:
    """A rectifier that is ON for x > 0, and one that is always ON."""
    g = builder()
    first = g.node("Relu", "x", out="first")
    second = g.node("Relu", g.node("Add", g.node("Tanh", first), g.constant(2.0)), out="second")
    return g.model({"x": ["N", FEATURES]}, [g.gemm(second, (FEATURES, 3))])


def label(model: onnx.ModelProto, output: str) -> str:
    return next(node.name for node in model.graph.node if node.output[0] == output)


def test_a_decision_that_flips_on_new_data_is_withdrawn_and_the_rest_verified() -> None:
    model = flipping_net()
    data = flipping(samples())
    outcome = collapse(model, data={"x": data})
    flipped, proved = label(model, "first"), label(model, "second")
    assert removed(outcome) == [proved]
    (refusal,) = [r for r in outcome.refusals if r.stage == "verification"]
    assert refusal.where == flipped
    assert f"not on the verification data ({FEATURES} channels)" in refusal.reason
    assert "calibrate" in refusal.lift
    row = next(row for row in outcome.inspection.rows if row.rectifier.label == flipped)
    assert isinstance(row.found, Undecided)
    assert row.found.refusal.reason == refusal.reason
    assert_equal(outcome, model, {"x": data})


def test_the_same_data_all_of_one_sign_are_not_withdrawn() -> None:
    model = flipping_net()
    outcome = collapse(model, data={"x": samples()})
    assert len(removed(outcome)) == 2
    assert not [r for r in outcome.refusals if r.stage == "verification"]


def test_nothing_is_left_when_all_that_was_decided_flips() -> None:
    g = builder()
    model = g.model({"x": ["N", FEATURES]}, [g.node("Sigmoid", g.node("Relu", "x"))])
    outcome = collapse(model, data={"x": flipping(samples())})
    assert outcome.model is None
    assert removed(outcome) == []
    assert [r.stage for r in outcome.refusals] == ["verification"]


def test_only_the_channels_that_flip_are_forgotten() -> None:
    model = flipping_net()
    data = samples()
    data[:, 0] = flipping(data[:, :1])[:, 0]
    found = findings(model, data={"x": data})
    assert isinstance(found.linearised.decisions["first"], Decision)
    after, refusals = take_back(found, (), options(data={"x": data}))
    assert "(1 channels)" in refusals[0].reason
    assert after.linearised.undecided["first"].pieces.tolist() == [UNDECIDED, 1, 1, 1]
    assert "second" in after.linearised.decisions
    assert "first" in found.linearised.decisions, "the findings it was given are as they were"


@pytest.mark.parametrize(
    ("make", "calibrated", "verified", "is_contradicted"),
    [
        pytest.param(lambda g, x: g.node("ThresholdedRelu", x, alpha=1.0), 2.0, 1.0, True, id="jump, wrong side"),
        pytest.param(lambda g, x: g.node("ThresholdedRelu", x, alpha=1.0), 0.5, 1.0, False, id="jump, right side"),
        pytest.param(lambda g, x: g.node("Relu", x), 2.0, 0.0, False, id="knot of a continuous one"),
        pytest.param(lambda g, x: g.node("Relu", x), -2.0, 0.0, False, id="the same from below"),
        pytest.param(
            lambda g, x: g.node("Clip", x, g.constant(0.0), g.constant(6.0)), -1.0, 6.0, True, id="a knot further off"
        ),
        pytest.param(
            lambda g, x: g.node("Clip", x, g.constant(0.0), g.constant(6.0)), 1.0, 6.0, False, id="the knot beside"
        ),
        pytest.param(lambda g, x: g.node("Relu", x), 2.0, -1e-6, True, id="a little over"),
        pytest.param(lambda g, x: g.node("Relu", g.node("Log", x)), 2.0, -1.0, True, id="NaN"),
        pytest.param(lambda g, x: g.node("Relu", g.node("Log", x)), 0.5, 0.0, True, id="flat to infinity"),
        pytest.param(
            lambda g, x: g.node("Relu", g.node("Neg", g.node("Log", x))), 0.5, 0.0, False, id="ON to infinity"
        ),
    ],
)
def test_what_contradicts(
    make: Callable[[Builder, str], str], calibrated: float, verified: float, is_contradicted: bool
) -> None:
    g = builder()
    model = g.model({"x": ["N", FEATURES]}, [g.node("Sigmoid", make(g, "x"))])
    data = flipping(np.ones((40, FEATURES), np.float32))
    data = np.where(data > 0, np.float32(calibrated), np.float32(verified))
    found = findings(model, data={"x": data})
    assert len(found.linearised.decisions) == 1
    _, refusals = take_back(found, (), options())
    assert bool(refusals) == is_contradicted


def test_a_tie_on_a_jump_is_withdrawn_and_not_blamed_on_the_rewrite() -> None:
    g = builder()
    model = g.model({"x": ["N", FEATURES]}, [g.node("Sigmoid", g.node("ThresholdedRelu", "x", alpha=1.0))])
    data = np.where(flipping(np.ones((40, FEATURES), np.float32)) > 0, np.float32(2), np.float32(1))
    outcome = collapse(model, data={"x": data})
    assert outcome.model is None
    assert [r.stage for r in outcome.refusals] == ["verification"]


def test_proofs_are_not_taken_back() -> None:
    g = builder()
    model = g.model({"x": ["N", FEATURES]}, [g.node("Tanh", g.node("Relu", g.node("Sigmoid", "x")))])
    found = findings(model, data={"x": samples()})
    assert take_back(found, (), options()) == (found, ())
    assert take_back(findings(model), (), options())[1] == ()


# A rewrite that is wrong, and how it is told.


def two_regions() -> onnx.ModelProto:
    g = builder()
    first = g.gemm(g.gemm("x", (4, 5)), (5, 4), out="first")
    return g.model({"x": ["N", 4]}, [g.node("Sigmoid", g.gemm(g.gemm(g.node("Tanh", first), (4, 5)), (5, 3)), out="y")])


def spoiled(form: Form, amount: float) -> Form:
    core = form.core
    assert isinstance(core, Dense | Conv)
    return replace(form, core=replace(core, bias=core.bias + amount))


def spoil(monkeypatch: pytest.MonkeyPatch, values: set[str], amount: float = 0.1) -> None:
    """Let `emit` write a wrong bias for some values."""

    def wrong(form: Form, source: Any, target: Any) -> Any:
        return emit(spoiled(form, amount) if target.hint in values else form, source, target)

    monkeypatch.setattr(rewrite, "emit", wrong)


def region_names(model: onnx.ModelProto) -> list[str]:
    return [region.name for region in make_candidate(findings(model), options()).regions]


@pytest.mark.parametrize("culprit", [0, 1])
def test_a_wrong_rewrite_is_named_and_nothing_is_handed_out(monkeypatch: pytest.MonkeyPatch, culprit: int) -> None:
    model = two_regions()
    names = region_names(model)
    assert len(names) == 2
    spoil(monkeypatch, {names[culprit]})
    with pytest.raises(VerificationError, match="verification failed") as caught:
        collapse(model)
    assert re.search(rf"the rewrite that makes {names[culprit]};", str(caught.value))
    assert "nothing was written" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_all_wrong_rewrites_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = two_regions()
    names = region_names(model)
    spoil(monkeypatch, set(names))
    with pytest.raises(VerificationError) as caught:
        collapse(model, data={"x": samples()})
    assert all(name in str(caught.value) for name in names)


def test_a_wrong_rewrite_is_told_from_a_decision_that_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decision goes first; what is wrong then is still wrong."""
    model = flipping_net()
    g = builder()
    first = g.node("Relu", "x", out="first")
    y = g.gemm(g.gemm(g.node("Tanh", first), (FEATURES, 3)), (3, 2))
    model = g.model({"x": ["N", FEATURES]}, [y])
    (name,) = [region for region in region_names(model) if region == y]
    spoil(monkeypatch, {name})
    with pytest.raises(VerificationError, match=f"the rewrite that makes {name};"):
        collapse(model, data={"x": flipping(samples())})


def test_a_measurement_stands_for_data_it_does_not_need_at_hand() -> None:
    model = flipping_net()
    measured = findings(model, data={"x": samples()}).measurement
    assert collapse(model, measurement=measured).is_collapsed
    assert collapse(model, measurement=measured, data={"x": samples()}).is_collapsed
    assert collapse(model, measurement=measured, input_ranges={"x": (0.5, 1.0)}).is_collapsed


def test_an_error_as_small_as_rounding_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = two_regions()
    spoil(monkeypatch, set(region_names(model)), 1e-9)
    assert_equal(collapse(model), model, feeds_for(model, np.random.default_rng(2), {"N": 3}))


def test_a_model_that_differs_from_itself_is_not_blamed_on_a_rewrite() -> None:
    found = findings(two_regions())
    made = make_candidate(found, options())
    wrong = two_regions()
    next(node for node in wrong.graph.node if node.op_type == "Tanh").op_type = "Sin"
    other = replace(made.narrowed, findings=findings(wrong))
    verdict = check(found, other.findings.model, options())
    error = blame(found, replace(made, narrowed=other), verdict, options())
    assert "verification failed: output" in str(error)
    assert "even with no rewrite at all" in str(error)


def test_a_changed_interface_fails_before_any_number_is_compared() -> None:
    found = findings(two_regions())
    made = make_candidate(found, options())
    made.model.graph.outputs[0].name = "renamed"
    verdict = check(found, made.model, options())
    assert not verdict.passed
    assert verdict.samples == 0
    assert verdict.reason.startswith("the interface changed")


@pytest.mark.parametrize(("low", "high"), [(-0.5, 1.0), (0.0, 0.5)])
def test_data_outside_the_declared_range_are_the_users_mistake(low: float, high: float) -> None:
    g = builder()
    model = g.model({"x": ["N", FEATURES]}, [g.node("Sigmoid", g.node("Relu", "x"))])
    data = np.linspace(low, high, 80, dtype=np.float32).reshape(20, FEATURES)
    if low < 0:
        with pytest.raises(UsageError, match=r"input x go from .*, outside the declared range 0:1; widen"):
            collapse(model, data={"x": data}, input_ranges={"x": (0.0, 1.0)})
    else:
        assert collapse(model, data={"x": data}, input_ranges={"x": (0.0, 1.0)}).is_collapsed


def test_the_tolerance_follows_the_depth_of_the_input() -> None:
    model = two_regions()
    found = findings(model)
    made = make_candidate(found, options())
    verdict = check(found, made.model, options())
    assert verdict.passed
    assert 0 < verdict.max_abs_error <= verdict.tolerance
    assert operators(model)["Gemm"] == 4
