"""The bundled models, collapsed: which rectifiers go, equal numbers, the same interface, the same accuracy."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_nepenthe.evidence import Observed
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.linearise import Decision
from onnx_nepenthe.outcome import Outcome
from tests.helpers.build import Array
from tests.helpers.collapsing import collapse, removed, result_of
from tests.helpers.compare import assert_valid, run_runtime
from tests.helpers.reference import run_reference

MODELS = Path(__file__).parents[2] / "models"
NAMES = ("digits-resnet", "digits-mlp")
LATENCIES = ("off", "macs")
GONE = {
    "digits-resnet": [
        "basic.act1",
        "basic.act2",
        "inverted2.expand_act",
        "inverted2.depthwise_act",
        "inverted3.expand_act",
        "inverted3.depthwise_act",
    ],
    "digits-mlp": ["stem.act", "block2.act"],
}
TOLERANCE = 2e-4
"""Of logits up to 30, float32, 14 weighted layers."""


def load(name: str) -> onnx.ModelProto:
    return onnx.load(MODELS / f"{name}.onnx")


@cache
def collapsed(name: str, latency: str) -> Outcome:
    return collapse(load(name), latency=latency, data=str(MODELS / "digits-calibration.npz"))


@cache
def held_out() -> tuple[Array, Array]:
    with np.load(MODELS / "digits-test.npz") as arrays:
        return arrays["input"], arrays["labels"]


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("name", NAMES)
def test_the_rectifiers_of_zero_entropy_go_and_no_others(name: str, latency: str) -> None:
    outcome = collapsed(name, latency)
    assert removed(outcome) == GONE[name]
    for row in outcome.inspection.rows:
        assert isinstance(row.found, Decision) == row.removed
        if isinstance(row.found, Decision):
            assert isinstance(row.found.evidence, Observed)
            assert row.found.evidence.n >= 240
    before, after = outcome.inspection.side.rectifiers, outcome.after.rectifiers
    assert before - after == len(GONE[name])


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("name", NAMES)
def test_every_rectifier_that_stays_has_a_reason(name: str, latency: str) -> None:
    for row in collapsed(name, latency).inspection.rows:
        if not isinstance(row.found, Decision):
            assert "curved" in row.found.refusal.reason or "change regime" in row.found.refusal.reason


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("name", NAMES)
def test_equal_numbers_on_data_never_seen(name: str, latency: str) -> None:
    outcome = collapsed(name, latency)
    model, after = load(name), result_of(outcome)
    images, labels = held_out()
    feeds = {"input": images}
    (wanted,), (got,) = run_runtime(model, feeds), run_runtime(after, feeds)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE)
    assert ((got.argmax(1) == labels) == (wanted.argmax(1) == labels)).all(), "the same images right and wrong"
    few = {"input": images[:5]}
    np.testing.assert_allclose(run_reference(after, few)[0], run_reference(model, few)[0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(run_reference(after, few)[0], got[:5], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("name", NAMES)
def test_callers_see_no_difference(name: str, latency: str) -> None:
    model, after = load(name), result_of(collapsed(name, latency))
    assert_valid(after, model)
    assert list(after.metadata_props) == list(model.metadata_props)
    for batch in (1, 7):
        assert run_runtime(after, {"input": held_out()[0][:batch]})[0].shape == (batch, 10)


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("name", NAMES)
def test_the_verdict(name: str, latency: str) -> None:
    verdict = collapsed(name, latency).verdict
    assert verdict is not None
    assert verdict.passed
    assert verdict.disjoint
    assert (verdict.samples, verdict.agreement) == (60, 1.0)
    assert verdict.top1_before == verdict.top1_after
    assert 0 < verdict.max_abs_error <= verdict.tolerance


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("name", NAMES)
def test_shallower_with_fewer_operators(name: str, latency: str) -> None:
    outcome = collapsed(name, latency)
    before, after = outcome.inspection.side.size, outcome.after.size
    assert after.weighted_depth < before.weighted_depth
    assert after.nodes < before.nodes
    assert after.macs is not None
    assert before.macs is not None


@pytest.mark.parametrize("name", NAMES)
def test_multiply_adds_and_parameters_fall_where_they_are_the_price(name: str) -> None:
    outcome = collapsed(name, "macs")
    before, after = outcome.inspection.side.size, outcome.after.size
    assert (after.macs or 0) < (before.macs or 0)
    assert after.parameters < before.parameters


def test_off_composes_what_macs_leaves_apart() -> None:
    """A basic block as one 5x5 convolution: fewer layers, more work."""
    off, macs = (collapsed("digits-resnet", latency).after.size for latency in LATENCIES)
    assert off.weighted_depth < macs.weighted_depth
    assert (off.macs or 0) > (macs.macs or 0)


@pytest.mark.parametrize("name", NAMES)
def test_an_inverted_residual_block_or_a_whole_mlp_is_one_operator(name: str) -> None:
    (longest,) = sorted(collapsed(name, "macs").rewrites, key=lambda rewrite: len(rewrite.replaced))[-1:]
    if name == "digits-resnet":
        assert len(longest.replaced) >= 9
        assert longest.made.startswith("Conv 3x3 48→48")
    else:
        assert longest.made.startswith("Dense 64→64")


@pytest.mark.parametrize("name", NAMES)
def test_without_data_nothing_observed_goes(name: str) -> None:
    outcome = collapse(load(name), latency="macs")
    assert removed(outcome) == []
    assert not any(isinstance(row.found, Decision) for row in outcome.inspection.rows)


def test_measured_it_is_not_slower() -> None:
    outcome = collapsed("digits-mlp", "measured")
    assert isinstance(outcome.latency, Comparison)
    assert not outcome.latency.is_slower
    assert outcome.is_collapsed
    (wanted,), (got,) = (run_runtime(m, {"input": held_out()[0]}) for m in (load("digits-mlp"), result_of(outcome)))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE)
    assert set(outcome.speedups) >= {
        rewrite.region for rewrite in outcome.rewrites if rewrite.region in outcome.speedups
    }
    assert {row.rectifier.label for row in outcome.inspection.rows if row.removed} <= set(GONE["digits-mlp"])
