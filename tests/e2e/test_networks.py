"""Whole networks stay what they compute; tools/fuzz_networks.py runs as many as one likes."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_ir as ir
import pytest
from onnx import version_converter

from tests.helpers.check_networks import Tally, assert_equal, check_network
from tests.helpers.collapsing import collapse
from tests.helpers.networks import ARCHITECTURES, Drawn, draw_network

SEEDS = (0, 1)
LATENCIES = ("off", "macs")
Optimise = Callable[[onnx.ModelProto], onnx.ModelProto]


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_network_computes_the_same_and_every_forced_rectifier_is_gone_or_explained(
    name: str, seed: int, latency: str
) -> None:
    tally = Tally()
    check_network(draw_network(name, seed), latency, tally)
    assert tally.counts[name, "graphs"] == 1


def _slimmed(model: onnx.ModelProto) -> onnx.ModelProto:
    slimmed: onnx.ModelProto = pytest.importorskip("onnxslim").slim(_copy(model))
    return slimmed


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    simplified, is_right = pytest.importorskip("onnxsim").simplify(_copy(model))
    assert is_right
    return simplified


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(model.SerializeToString())


def _optimised(drawn: Drawn, model: onnx.ModelProto) -> onnx.ModelProto:
    """Collapsed by us."""
    outcome = collapse(model, data=drawn.data, prove_budget_s=0.0)
    return model if outcome.model is None else ir.to_proto(outcome.model)


@pytest.mark.parametrize("optimise", [_slimmed, _simplified])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_optimisers_come_before_and_after(name: str, optimise: Optimise) -> None:
    drawn = draw_network(name, 2)
    before = _optimised(drawn, optimise(drawn.model))
    after = optimise(_optimised(drawn, drawn.model))
    for result in (before, after):
        onnx.checker.check_model(result, full_check=True)
        assert_equal(result, drawn.model, drawn.data)
    again = _optimised(drawn, after)
    assert_equal(again, drawn.model, drawn.data)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_another_opset(name: str) -> None:
    drawn = draw_network(name, 3, opset=13)
    newer = version_converter.convert_version(_copy(drawn.model), 21)
    assert_equal(_optimised(drawn, newer), drawn.model, drawn.data)
    assert_equal(version_converter.convert_version(_optimised(drawn, drawn.model), 21), drawn.model, drawn.data)
