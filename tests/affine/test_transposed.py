"""What joins a transposed convolution with a stride, and what does not; laws are in test_laws.py."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import onnx_nepenthe
from onnx_nepenthe.affine.compose import compose
from onnx_nepenthe.affine.maps import AffineMap, Conv, Dense, evaluate, per_channel, uniform
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.errors import Refused
from tests.helpers.build import Builder
from tests.helpers.compare import assert_close, operators, run_runtime
from tests.helpers.unharmed import builder, collapsed

RNG = np.random.default_rng(0)
TAPS = RNG.standard_normal((4, 3, 2, 2))
UP = TransposedConv(TAPS, RNG.standard_normal(6), (2, 2), (1, 1), (0, 1), (1, 0), (0, 1), 2)
MIX = RNG.standard_normal((5, 6))
ONES, ZEROS = (1, 1), (0, 0)
AFTER: dict[str, AffineMap] = {
    "line": uniform(2.0, 1.0),
    "lines": per_channel(1, RNG.standard_normal(6), RNG.standard_normal(6)),
    "matrix": Dense(1, MIX, RNG.standard_normal(5)),
    "1x1": Conv(MIX[..., None, None], RNG.standard_normal(5), ONES, ONES, ZEROS, ZEROS),
}
BEFORE: dict[str, AffineMap] = {
    "line": uniform(2.0, 0.0),
    "lines": per_channel(1, RNG.standard_normal(4), np.zeros(4)),
    "matrix": Dense(1, RNG.standard_normal((4, 3)), np.zeros(4)),
}


@pytest.mark.parametrize("name", AFTER)
def test_what_treats_all_positions_alike_joins_it(name: str) -> None:
    x = RNG.standard_normal((2, 4, 3, 5))
    joined = compose(AFTER[name], UP)
    assert isinstance(joined, TransposedConv)
    np.testing.assert_allclose(evaluate(joined, x), evaluate(AFTER[name], evaluate(UP, x)), atol=1e-12)


@pytest.mark.parametrize("name", BEFORE)
def test_what_comes_before_joins_it_without_an_offset(name: str) -> None:
    first = BEFORE[name]
    x = RNG.standard_normal((2, 3 if isinstance(first, Dense) else 4, 3, 5))
    joined = compose(UP, first)
    assert isinstance(joined, TransposedConv)
    np.testing.assert_allclose(evaluate(joined, x), evaluate(UP, evaluate(first, x)), atol=1e-12)


@pytest.mark.parametrize(
    ("second", "first", "reason"),
    [
        (UP, uniform(1.0, 0.5), "unevenly"),
        (UP, Dense(1, np.eye(4), np.ones(4)), "unevenly"),
        (UP, UP, "positions alike"),
        (Conv(np.ones((1, 6, 3, 3)), np.zeros(1), ONES, ONES, ZEROS, ZEROS), UP, "positions alike"),
        (per_channel(2, np.full(5, 2.0), np.zeros(5)), UP, "different axes"),
    ],
)
def test_refusals(second: AffineMap, first: AffineMap, reason: str) -> None:
    found = compose(second, first)
    assert isinstance(found, Refused)
    assert reason in found.reason


@pytest.mark.parametrize("name", ["effort", "memory"])
def test_what_is_too_large_is_not_computed(name: str) -> None:
    """A depthwise one, whose mixed weight is dense."""
    channels, kernel = {"effort": (1024, (2, 2)), "memory": (2048, (1, 33))}[name]
    weight, flat = np.ones((channels, 1, *kernel)), np.zeros(channels)
    m = TransposedConv(weight, flat, (2, 2), ONES, ZEROS, ZEROS, ZEROS, channels)
    mix = Dense(1, np.ones((channels, channels)), flat)
    for found in (compose(mix, m), compose(m, mix)):
        assert isinstance(found, Refused)
        assert "too large" in found.reason


def up(g: Builder, x: str, channels: tuple[int, int], *, bias: bool = True) -> str:
    weight = g.constant(g.random(*channels, 2, 2))
    biases = [g.constant(g.random(channels[1]))] if bias else []
    return g.node("ConvTranspose", x, weight, *biases, kernel_shape=[2, 2], strides=[2, 2])


GRAPHS = {
    "BatchNormalization": (lambda g: g.batch_norm(up(g, "x", (4, 3)), 3), {"ConvTranspose": 1}),
    "a constant per channel": (
        lambda g: g.node("Add", up(g, "x", (4, 3), bias=False), g.constant(g.random(3, 1, 1))),
        {"ConvTranspose": 1},
    ),
    "1x1": (lambda g: g.conv(up(g, "x", (4, 6)), (6, 2), (1, 1)), {"ConvTranspose": 1}),
    "1x1 before it": (lambda g: up(g, g.conv("x", (4, 6), (1, 1), bias=False), (6, 2)), {"ConvTranspose": 1}),
    "1x1 with a bias before it": (
        lambda g: up(g, g.conv("x", (4, 6), (1, 1)), (6, 2)),
        {"Conv": 1, "ConvTranspose": 1},
    ),
    "3x3": (lambda g: g.conv(up(g, "x", (4, 6)), (6, 2), (3, 3)), {"Conv": 1, "ConvTranspose": 1}),
    "a skip": (lambda g: g.node("Add", up(g, "x", (4, 3)), up(g, "x", (4, 3))), {"ConvTranspose": 2, "Add": 1}),
    "parts": (
        lambda g: g.node("Slice", up(g, "x", (4, 3)), *(g.constant(np.array([n])) for n in (0, 2, 1))),
        {"ConvTranspose": 1, "Slice": 1},
    ),
}


@pytest.mark.parametrize("dims", [[2, 4, 6, 5], ["N", 4, "H", "W"]], ids=["known", "any"])
@pytest.mark.parametrize("name", GRAPHS)
def test_in_a_model(name: str, dims: list[int | str]) -> None:
    make, wanted = GRAPHS[name]
    g = builder()
    after = collapsed(g, {"x": dims}, [make(g)])
    assert operators(after) == wanted


def test_nothing_is_done_to_one_that_stands_alone() -> None:
    g = builder()
    model: onnx.ModelProto = collapsed(g, {"x": [2, 4, 6, 5]}, [g.node("Relu", up(g, "x", (4, 3)))])
    assert operators(model) == {"ConvTranspose": 1, "Relu": 1}


def test_where_onnx_and_onnxruntime_disagree_on_a_size_nothing_rests_on_it() -> None:
    """SAME settles the size; onnx adds the output padding to it."""
    g = builder()
    weight = g.constant(g.random(4, 2, 3, 3))
    grown = g.node("ConvTranspose", "x", weight, strides=[3, 3], output_padding=[1, 0], auto_pad="SAME_UPPER")
    shifted = g.batch_norm(grown, 2)
    made = g.node("Add", g.conv(shifted, (2, 2), (3, 3), pads=1), shifted)
    model = g.model({"x": [2, 4, 6, 5]}, [made])
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 5)).astype(np.float32)
    after = onnx_nepenthe.collapse(model, latency="off", threads=1)
    assert_close(run_runtime(after, {"x": x}), run_runtime(model, {"x": x}), 1e-4)
