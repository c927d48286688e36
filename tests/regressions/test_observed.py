"""A filter that is dead on the calibration data only is not dead."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe import pipeline
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Outcome
from onnx_nepenthe.sources.split import split
from tests.helpers.build import Array
from tests.helpers.compare import assert_same, operators
from tests.helpers.unharmed import builder

SAMPLES, SIZE = 40, 6


def images(low_on_verification: float) -> Array:
    """Positive images; those that verify have one pixel of this value."""
    data = np.random.default_rng(2).uniform(0.2, 1.0, (SAMPLES, 4, SIZE, SIZE)).astype(np.float32)
    for index in split(range(SAMPLES), "verification", seed=0):
        data[index, :, 2, 3] = low_on_verification
    return data


def model(dead: list[int], negative: bool = True) -> onnx.ModelProto:
    """Two rectifiers: the filters `dead` of the first are off for positive images, the others on; the second is on."""
    g = builder()
    weight = np.abs(g.random(4, 4, 1, 1))
    weight[dead] *= -1 if negative else 0
    first = g.node("Relu", g.node("Conv", "x", g.constant(weight)))
    second = g.node("Relu", g.node("Conv", first, g.constant(np.abs(g.random(3, 4, 1, 1))), g.constant(g.positive(3))))
    y = g.conv(second, (3, 2), (3, 3), pads=1)
    return g.model({"x": ["N", 4, SIZE, SIZE]}, [y])


def collapse(before: onnx.ModelProto, data: Array) -> Outcome:
    options = Options(data={"x": data}, latency="off")
    return pipeline.collapse(ir.from_proto(before), "model", options)


def result(outcome: Outcome, before: onnx.ModelProto) -> onnx.ModelProto:
    return before if outcome.model is None else ir.to_proto(outcome.model)


@pytest.mark.parametrize("dead", [[], [1], [0, 3], [0, 1, 2, 3]], ids=str)
def test_what_verification_contradicts_is_taken_back(dead: list[int]) -> None:
    before, data = model(dead), images(low_on_verification=-2.0)
    outcome = collapse(before, data)
    after = result(outcome, before)
    assert operators(after).get("Relu") == 1
    assert any("not on the verification data" in refusal.reason for refusal in outcome.refusals)
    assert_same(after, before, {"x": data}, 1e-5)


@pytest.mark.parametrize("dead", [[], [1], [0, 3], [0, 1, 2, 3]], ids=str)
def test_what_verification_confirms_is_done(dead: list[int]) -> None:
    before, data = model(dead), images(low_on_verification=0.3)
    outcome = collapse(before, data)
    after = result(outcome, before)
    assert "Relu" not in operators(after)
    assert_same(after, before, {"x": data}, 1e-5)


def test_a_filter_of_zeros_is_dead_whatever_comes() -> None:
    before, data = model([1], negative=False), images(low_on_verification=-2.0)
    after = result(collapse(before, data), before)
    assert_same(after, before, {"x": data}, 1e-5)
    assert_same(after, before, {"x": -data}, 1e-5)


def test_a_flip_below_the_tolerance_is_taken_back_too() -> None:
    before, data = model([]), images(low_on_verification=-1e-5)
    outcome = collapse(before, data)
    assert operators(result(outcome, before)).get("Relu") == 1
    assert any("not on the verification data" in refusal.reason for refusal in outcome.refusals)
