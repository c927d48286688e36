"""Every proof is attacked: random nets over small boxes, each proved unit hunted for an input that refutes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.prove import Bounds, bounds_of
from onnx_nepenthe.proving.crown import Bend, relaxed_bounds
from onnx_nepenthe.proving.effort import Effort
from onnx_nepenthe.rectifiers import find_rectifiers
from tests.helpers.attack import Claim, claims_of, falsified, proved
from tests.helpers.build import Builder

RELU = Activation((0.0,), ((0.0, 0.0), (1.0, 0.0)))
ACTIVATIONS = ("Relu", "Relu", "LeakyRelu", "Clip", "PRelu")


def bent(b: Builder, x: str, channels: int, spatial: int) -> str:
    match str(b.rng.choice(ACTIVATIONS)):
        case "LeakyRelu":
            return b.node("LeakyRelu", x, alpha=float(b.rng.choice([0.1, -0.3])))
        case "Clip":
            return b.node("Clip", x, b.constant(0.0), b.constant(float(b.rng.choice([0.5, 6.0]))))
        case "PRelu":
            slope = b.random(channels, *(1,) * spatial) if spatial else b.random(channels)
            return b.node("PRelu", x, b.constant(slope))
    return b.node("Relu", x)


def mlp(seed: int) -> onnx.ModelProto:
    b = Builder(np.random.default_rng(seed))
    sizes = [int(b.rng.choice([4, 9, 30])), *b.rng.choice([8, 20], 3).tolist()]
    x = "x"
    for into, out in pairwise(sizes):
        h = b.gemm(x, (into, out), transB=1) if b.rng.random() < 0.5 else b.matmul(x, (into, out), bias=True)
        x = bent(b, h, out, 0)
        x = b.node("Add", x, b.node("Neg", h)) if b.rng.random() < 0.3 else x
    return b.model({"x": ["N", sizes[0]]}, [b.node("Relu", b.gemm(x, (sizes[-1], 6)))])


def cnn(seed: int) -> onnx.ModelProto:
    """Random blocks on (4, 5, 5): convolutions of all kinds, pools, normalisation, residuals, concatenation."""
    b = Builder(np.random.default_rng(seed))
    x = bent(b, b.batch_norm(b.conv("x", (2, 4), (3, 3), pads=1), 4), 4, 2)
    for kind in b.rng.choice(["residual", "grouped", "max", "average", "concat", "scaled", "strided"], 3):
        match str(kind):
            case "residual":
                y = b.conv(bent(b, b.conv(x, (4, 4), (3, 3), pads=1), 4, 2), (4, 4), (3, 3), pads=1)
                x = bent(b, b.node("Add", x, y), 4, 2)
            case "grouped":
                x = bent(b, b.conv(x, (4, 4), (3, 3), group=int(b.rng.choice([2, 4])), pads=1), 4, 2)
            case "max":
                x = b.node("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4)
            case "average":
                x = b.node("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
            case "concat":
                y = b.node("Concat", x, b.node("Neg", x), axis=1)
                x = bent(b, b.conv(y, (8, 4), (1, 1)), 4, 2)
            case "scaled":
                x = b.node("Sub", b.node("Mul", x, b.constant(b.random(4, 1, 1))), b.constant(b.random(1, 4, 1, 1)))
            case _:
                x = bent(b, b.conv(x, (4, 4), (3, 3), pads=2, dilations=[2, 2]), 4, 2)
    x = b.node("Relu", b.conv(x, (4, 6), (3, 3), strides=[2, 2]))
    features = b.node("Flatten", b.node("GlobalAveragePool", x))
    return b.model({"x": ["N", 2, 5, 5]}, [b.node("Relu", b.gemm(features, (6, 6)))])


def conv_1d(seed: int) -> onnx.ModelProto:
    b = Builder(np.random.default_rng(seed))
    h = b.node("Relu", b.conv("x", (3, 5), (3,), pads=1))
    y = b.conv(h, (5, 5), (3,), pads=1)
    return b.model({"x": ["N", 3, 8]}, [b.node("Relu", b.node("Add", h, y))])


BOXES = ((-0.1, 0.1), (0.0, 0.05), (0.4, 0.41), (-1.0, 1.0), (0.5, 0.5))


@pytest.mark.parametrize("make", [mlp, cnn, conv_1d])
@pytest.mark.parametrize("seed", range(12))
def test_no_proof_falls(make: Callable[[int], onnx.ModelProto], seed: int) -> None:
    model, rng, box = make(seed), np.random.default_rng(seed), BOXES[seed % len(BOXES)]
    claims = claims_of(model, {"x": box})
    assert falsified(model, claims, {"x": box}, rng) == []


@pytest.mark.parametrize("make", [mlp, cnn, conv_1d])
def test_the_relaxation_proves_more_than_intervals(make: Callable[[int], onnx.ModelProto]) -> None:
    """Otherwise the attack above would have nothing to attack."""
    boxes = {seed: {"x": BOXES[seed % 3]} for seed in range(6)}
    by_intervals = sum(proved(claims_of(make(seed), box, 0.0)) for seed, box in boxes.items())
    by_relaxation = sum(proved(claims_of(make(seed), box)) for seed, box in boxes.items())
    assert by_relaxation > by_intervals


def rare(inputs: int) -> onnx.ModelProto:
    """One unit that is negative near a single corner of [-1, 1]^inputs, by 1 % of its range."""
    b = Builder(np.random.default_rng(0))
    weight = b.random(1, inputs)
    bias = 0.98 * np.abs(weight).sum(keepdims=True)[0].astype(np.float32)
    z = b.node("Gemm", "x", b.constant(weight), b.constant(bias), transB=1, out="z")
    return b.model({"x": ["N", inputs]}, [b.node("Relu", z)])


def test_the_attack_finds_what_random_inputs_miss() -> None:
    """A wrong claim that holds for 10,000 random points falls."""
    model, box = rare(40), {"x": (-1.0, 1.0)}
    wrong = Claim("z", RELU, 1, np.array([1]))
    assert claims_of(model, box)[0].pieces.tolist() == [-1]
    weight, bias = (onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer)
    points = np.random.default_rng(1).uniform(-1, 1, (10_000, 40))
    assert np.all(points @ weight.T + bias > 0)
    assert falsified(model, [wrong], box, np.random.default_rng(0)) == ["z[0]"]


@pytest.mark.parametrize("seed", range(6))
def test_the_attack_catches_wrong_proofs(seed: int) -> None:
    """Every proof turned round: each claimed unit is said to lie in the other piece."""
    model, box = conv_1d(seed), {"x": BOXES[seed % 3]}
    claims = claims_of(model, box)
    turned = [replace(claim, pieces=np.where(claim.pieces >= 0, 1 - claim.pieces, -1)) for claim in claims]
    assert len(falsified(model, turned, box, np.random.default_rng(0))) == proved(claims) > 0


def test_the_attack_catches_bounds_that_are_a_little_too_tight() -> None:
    """Most units that are truly undecided are refuted when they are claimed."""
    model, box = mlp(3), {"x": (-1.0, 1.0)}
    claims = claims_of(model, box)
    wrong = [replace(claim, pieces=np.where(claim.pieces < 0, 1, -1)) for claim in claims]
    assert len(falsified(model, wrong, box, np.random.default_rng(0))) >= proved(wrong) // 2


def test_bytes_are_attacked_as_bytes() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (uint8[N,2,3,3] x) => (y)
        <float d = {255}, float[2,1,1] m = {0.5, 0.25},
         float[3,2,1,1] w = {1, 1, -1, 1, 1, -1}, float[3] b = {0.8, -1.3, 0}>
        { f = Cast<to=1>(x) u = Div(f, d) p = Sub(u, m) z = Conv(p, w, b) y = Relu(z) }"""
    model = onnx.parser.parse_model(text)
    (claim,) = claims_of(model, {})
    assert claim.pieces.tolist() == [1, 0, -1]
    assert falsified(model, [claim], {}, np.random.default_rng(0)) == []
    wrong = replace(claim, pieces=np.array([0, 1, 1]))
    assert len(falsified(model, [wrong], {}, np.random.default_rng(0))) == 3


@pytest.mark.parametrize("make", [mlp, cnn, conv_1d])
@pytest.mark.parametrize("seed", range(6))
def test_values_stay_inside_their_bounds(make: Callable[[int], onnx.ModelProto], seed: int) -> None:
    """Also where nothing is proved: bounds that are a little wrong show here first."""
    model, box = make(seed), BOXES[seed % len(BOXES)]
    view = view_from_model(ir.from_proto(model))
    rectifiers, _ = find_rectifiers(view)
    bends = {r.output: Bend(r.operand, r.activation, r.axis) for r in rectifiers}
    found = relaxed_bounds(view, bounds_of(view, {"x": box}), bends, Effort(60.0))
    assert found
    rng = np.random.default_rng(seed)
    for name, bounds in found.items():
        centre = Claim(name, RELU, bounds.axis or 1, np.ones(bounds.channels or 1, np.int64))
        assert falsified(model, inside(centre, bounds), {"x": box}, rng, samples=64, climbs=2) == []


def inside(claim: Claim, bounds: Bounds) -> list[Claim]:
    """That the operand lies between the ends, as a claim about a function with knots there."""
    knots = (np.atleast_1d(bounds.low), np.atleast_1d(bounds.high))
    return [replace(claim, activation=Activation(knots, ((0.0, 0.0), (1.0, 0.0), (0.0, 0.0)), axis=claim.axis))]
