"""Proofs: what interval arithmetic can and must not claim about rectifiers."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.activations.base import ACTIVATIONS, Activation
from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.opview import OpView
from onnx_nepenthe.prove import Bounds, bounds_of, describe, prove_regimes
from onnx_nepenthe.proving import interval, stored
from onnx_nepenthe.proving.bounds import constant_bounds

RELU = Activation(knots=(0.0,), lines=((0.0, 0.0), (1.0, 0.0)))
RELU6 = Activation(knots=(0.0, 6.0), lines=((0.0, 0.0), (1.0, 0.0), (0.0, 6.0)))
STEP = Activation(knots=(1.0,), lines=((0.0, 0.0), (1.0, 0.0)))
"""ThresholdedRelu: jumps at 1, where it belongs to the lower piece."""
OFF, ON, UNSURE = 0, 1, -1
IMAGE = "float[N,2,6,6] x"


def view_of(nodes: str, *constants: str, inputs: str = IMAGE, opset: int = 17) -> GraphView:
    held = f"<{', '.join(constants)}>" if constants else ""
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => (y) {held} {{ {nodes} }}'
    return view_from_model(ir.from_proto(onnx.parser.parse_model(text)))


def bounds_at(name: str, view: GraphView, **ranges: tuple[float, float]) -> Bounds:
    return bounds_of(view, ranges)[name]


def proof_of_last(view: GraphView, activation: Activation = RELU, channels: int = 2, **ranges: tuple) -> list[int]:
    """The regimes of the last operator of the graph, channels on axis 1."""
    operand = view.ops[-1].inputs[0]
    assert operand is not None
    return prove_regimes(activation, bounds_at(operand.name, view, **ranges), channels, 1).tolist()


@pytest.mark.parametrize(
    "nodes",
    [
        "z = Relu(x) y = Relu(z)",
        "z = Sigmoid(x) y = Relu(z)",
        "z = Abs(x) y = Relu(z)",
        "z = Softmax<axis=1>(x) y = Relu(z)",
        "a = Relu(x) z = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(a) y = Relu(z)",
        "a = Relu(x) z = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(a) y = Relu(z)",
        "a = Relu(x) z = GlobalAveragePool(a) y = Relu(z)",
        "a = Relu(x) b = Sigmoid(x) z = Add(a, b) y = Relu(z)",
        "a = Relu(x) b = Exp(x) z = Mul(a, b) y = Relu(z)",
        "z = Mul(x, x) y = Relu(z)",
        "a = Relu(x) b = Abs(x) z = Concat<axis=1>(a, b) y = Relu(z)",
        "a = Relu(x) z = Transpose<perm=[0,1,3,2]>(a) y = Relu(z)",
        "a = Relu(x) z = Flatten(a) y = Relu(z)",
    ],
)
def test_relu_is_on_after_what_is_never_negative(nodes: str) -> None:
    assert set(proof_of_last(view_of(nodes))) == {ON}


@pytest.mark.parametrize("nodes", ["y = Relu(x)", "z = Tanh(x) y = Relu(z)", "a = Relu(x) z = Sub(a, a2) y = Relu(z)"])
def test_relu_is_unsure_of_what_may_be_negative(nodes: str) -> None:
    view = view_of(nodes.replace("Sub(a, a2)", "Sub(a, x)"))
    assert proof_of_last(view) == [UNSURE, UNSURE]


def test_relu_is_off_below_zero_for_finite_values_only() -> None:
    view = view_of("a = Relu(x) z = Neg(a) y = Relu(z)")
    assert proof_of_last(view, x=(-5, 5)) == [OFF, OFF]
    assert proof_of_last(view) == [UNSURE, UNSURE]


def test_a_nan_forbids_a_constant_but_not_a_line() -> None:
    weights = "float[2,2,1,1] w = {1, -1, 2, -3}"
    off = view_of("a = Conv(x, w) b = Sigmoid(a) z = Neg(b) y = Relu(z)", weights)
    on = view_of("a = Conv(x, w) z = Sigmoid(a) y = Relu(z)", weights)
    assert bounds_at("z", off).may_be_nan
    assert proof_of_last(off) == [UNSURE, UNSURE]
    assert proof_of_last(off, x=(-9, 9)) == [OFF, OFF]
    assert proof_of_last(on) == [ON, ON]


def test_clip_after_clip() -> None:
    narrow = "float zero = {0}, float three = {3}, float six = {6}"
    assert proof_of_last(view_of("z = Clip(x, zero, three) y = Clip(z, zero, six)", narrow), RELU6) == [1, 1]
    assert proof_of_last(view_of("z = Clip(x, zero, six) y = Clip(z, zero, six)", narrow), RELU6) == [1, 1]
    assert proof_of_last(view_of("z = Relu(x) y = Clip(z, zero, six)", narrow), RELU6) == [UNSURE, UNSURE]
    disjoint = view_of("z = Clip(x, six, six) y = Clip(z, zero, three)", narrow)
    assert proof_of_last(disjoint, Activation((0.0, 3.0), ((0.0, 0.0), (1.0, 0.0), (0.0, 3.0)))) == [2, 2]


def test_saturation_overshoots_only_where_it_does_not_matter() -> None:
    """onnxruntime's Sigmoid reaches 1.0000001: Clip(0, 1) behind it is the identity, a step at 1 is not certain."""
    view = view_of("z = Sigmoid(x) y = Relu(z)")
    unit = Activation((0.0, 1.0), ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
    assert proof_of_last(view, unit) == [1, 1]
    assert proof_of_last(view, STEP) == [UNSURE, UNSURE]
    assert bounds_at("z", view).high > 1


def test_first_layer_by_channel() -> None:
    """Channel 0 has positive weights, channel 1 negative ones, channel 2 both."""
    view = view_of(
        "z = Conv<pads=[1,1,1,1]>(x, w, b) y = Relu(z)",
        f"float[3,2,3,3] w = {{{', '.join(['0.5'] * 18 + ['-0.5'] * 18 + ['1', '-1'] * 9)}}}",
        "float[3] b = {0.0, -0.25, 0.5}",
    )
    assert proof_of_last(view, channels=3, x=(0, 1)) == [ON, OFF, UNSURE]
    assert proof_of_last(view, channels=3, x=(-1, 1)) == [UNSURE] * 3


def test_padding_counts_as_zero() -> None:
    """Inside the image z >= 2*0.5 - 0.75 > 0, but at the border only some of the taps see it."""
    constants = ("float[1,2,1,2] w = {1, 1, 1, 1}", "float[1] b = {-1.5}")
    assert proof_of_last(view_of("z = Conv(x, w, b) y = Relu(z)", *constants), channels=1, x=(0.5, 1)) == [ON]
    padded = view_of("z = Conv<pads=[0,1,0,1]>(x, w, b) y = Relu(z)", *constants)
    assert proof_of_last(padded, channels=1, x=(0.5, 1)) == [UNSURE]
    automatic = view_of('z = Conv<auto_pad="SAME_UPPER">(x, w, b) y = Relu(z)', *constants)
    assert proof_of_last(automatic, channels=1, x=(0.5, 1)) == [UNSURE]


def test_groups_see_their_own_channels() -> None:
    view = view_of(
        "a = Mul(x, s) z = Conv<group=2>(a, w) y = Relu(z)",
        "float[2,1,1] s = {1, -1}",
        "float[4,1,1,1] w = {1, -1, 1, -1}",
    )
    assert proof_of_last(view, channels=4, x=(0, 1)) == [ON, OFF, OFF, ON]


def test_batch_normalisation_by_channel() -> None:
    view = view_of(
        "z = BatchNormalization(x, s, b, m, v) y = Relu(z)",
        "float[2] s = {1, 1}, float[2] b = {2, 0}, float[2] m = {0, 0.5}, float[2] v = {1, 1}",
    )
    assert proof_of_last(view, x=(-1, 1)) == [ON, UNSURE]


def test_constants_on_another_axis_are_not_taken_for_channels() -> None:
    """A (6,) constant lies along the width, although z might have six channels."""
    view = view_of("z = Add(x, c) y = Relu(z)", "float[6] c = {5, 5, 5, -5, -5, -5}", inputs="float[1,6,6,6] x")
    assert bounds_at("z", view, x=(-1, 1)).axis == 3
    assert proof_of_last(view, channels=6, x=(-1, 1)) == [UNSURE] * 6


def test_channels_survive_flattening_and_a_dense_layer() -> None:
    view = view_of(
        "a = Add(x, c) b = Flatten(a) z = Gemm(b, w) y = Relu(z)",
        "float[2,1,1] c = {3, -3}",
        "float[4,2] w = {1, 0, 1, 0, 0, 1, 0, 1}",
        inputs="float[N,2,1,2] x",
    )
    assert bounds_at("b", view, x=(-1, 1)).channels == 4
    assert proof_of_last(view, x=(-1, 1)) == [ON, OFF]


def test_preprocessing_of_bytes_is_followed() -> None:
    view = view_of(
        "f = Cast<to=1>(x) u = Div(f, d) n = Sub(u, m) y = Div(n, s)",
        "float d = {255}, float[2,1,1] m = {0.0, 0.5}, float s = {0.25}",
        inputs="uint8[N,2,6,6] x",
    )
    bounds = bounds_at("y", view)
    np.testing.assert_array_equal(bounds.low, [0.0, -2.0])
    np.testing.assert_array_equal(bounds.high, [4.0, 2.0])
    assert bounds_at("x", view, x=(-7, 100)).low == 0.0
    assert bounds_at("x", view, x=(-7, 100)).high == 100.0


def test_unknown_operators_say_nothing() -> None:
    view = view_of("a = Relu(x) z = GlobalLpPool(a) y = Relu(z)")
    bounds = bounds_at("z", view)
    assert (bounds.low, bounds.high, bounds.may_be_nan) == (-np.inf, np.inf, True)
    assert proof_of_last(view) == [UNSURE, UNSURE]


def test_another_domain_is_another_operator() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17, "own" : 1]> g (float[2] x) => (float[2] y) { y = own.Relu(x) }'
    view = view_from_model(ir.from_proto(onnx.parser.parse_model(text)))
    assert bounds_at("y", view).low == -np.inf


def test_overflow_is_foreseen() -> None:
    half = view_of("z = Mul(x, x) d = Sub(z, z2) y = Relu(z)".replace("z2", "x"), inputs="float16[2] x")
    bounds = bounds_of(half, {"x": (0.0, 300.0)})
    assert bounds["z"].high == np.inf
    assert bounds["z"].low == 0.0
    wide = view_of("y = ReduceSum<keepdims=0>(x)", inputs="float16[1000,1000] x")
    assert bounds_at("y", wide, x=(-1.0, 1.0)).may_be_nan
    narrow = view_of("y = ReduceSum<keepdims=0>(x)", inputs="float16[100] x")
    assert not bounds_at("y", narrow, x=(-1.0, 1.0)).may_be_nan


def test_integers_wrap() -> None:
    view = view_of("y = Add(x, x)", inputs="uint8[2] x")
    assert bounds_at("y", view).high == 255.0
    assert bounds_at("y", view, x=(0, 100)).high == 200.0
    assert stored(interval(0.0, 300.0, may_be_nan=True), "int8").low == -128.0


def test_division_by_what_may_be_zero_says_nothing() -> None:
    view = view_of("a = Relu(x) y = Reciprocal(a)")
    assert bounds_at("y", view).low == -np.inf
    assert bounds_at("y", view, x=(0.5, 2)).high == 2.0


def test_ranges_are_checked() -> None:
    view = view_of("y = Relu(x)")
    with pytest.raises(UsageError, match="no such input"):
        bounds_of(view, {"image": (0, 1)})
    with pytest.raises(UsageError, match="LOW first"):
        bounds_of(view, {"x": (1, 0)})
    with pytest.raises(UsageError, match="LOW first"):
        bounds_of(view, {"x": (0, float("nan"))})


def test_every_value_has_bounds() -> None:
    view = view_of("a, b = Split<axis=1>(x) m, i = MaxPool<kernel_shape=[2,2]>(a) y = Add(a, b)")
    assert set(bounds_of(view, {})) == {"x", "a", "b", "m", "i", "y"}


def test_constant_operators_are_known_exactly() -> None:
    view = view_of("c = Constant<value = float[2,1,1] {1, -1}>() z = Add(c, x) y = Relu(z)")
    assert bounds_at("c", view).low.tolist() == [1.0, -1.0]
    assert proof_of_last(view, x=(-0.5, 0.5)) == [ON, OFF]


def test_constant_bounds() -> None:
    assert constant_bounds(np.array([[[1.0]], [[-2.0]]])).axis == 0
    assert constant_bounds(np.array([[1.0, 2.0], [3.0, 4.0]])).high == 4.0
    assert constant_bounds(np.array([1.0, np.nan])).may_be_nan
    assert constant_bounds(np.array(["a"])).may_be_nan
    assert constant_bounds(np.zeros((0, 3))).low == -np.inf


@pytest.mark.parametrize(
    ("activation", "low", "high", "piece"),
    [
        (RELU, 0, 2, ON),
        (RELU, -2, 0, OFF),
        (RELU, -1, 1, UNSURE),
        (RELU, 0, 0, OFF),
        (RELU, -np.inf, 0, UNSURE),
        (RELU, 0, np.inf, ON),
        (RELU6, 0, 6, 1),
        (RELU6, 6, 9, 2),
        (RELU6, 0, 6.5, UNSURE),
        (RELU6, 0, 6.000001, 1),
        (RELU, -1e-9, 1, UNSURE),
        (STEP, 0, 1.0000001, UNSURE),
        (STEP, 1, 2, UNSURE),
        (STEP, 1.5, 2, 1),
        (STEP, 0, 1, 0),
        (Activation((1.0,), STEP.lines, knot_above=(True,)), 1, 2, 1),
        (Activation((1.0,), STEP.lines, knot_above=(True,)), 0, 1, UNSURE),
        (Activation((0.0,), ((0.1, 0.0), (1.0, 0.0))), -np.inf, 0, 0),
        (Activation((-3.0, 3.0), ((0.0, 0.0), None, (1.0, 0.0))), -1, 1, 1),
        (Activation((-3.0, 3.0), ((0.0, 0.0), None, (1.0, 0.0))), 3, 4, 2),
        (Activation((), ((1.0, 0.0),)), -np.inf, np.inf, 0),
    ],
)
def test_regime_of_an_interval(activation: Activation, low: float, high: float, piece: int) -> None:
    assert prove_regimes(activation, interval(low, high), 1, 1).tolist() == [piece]


def test_regimes_by_channel() -> None:
    bounds = interval([0.0, -2.0, -1.0], [1.0, -1.0, 1.0], axis=1)
    assert prove_regimes(RELU, bounds, 3, 1).tolist() == [ON, OFF, UNSURE]
    assert prove_regimes(RELU, bounds, 3, 2).tolist() == [UNSURE] * 3
    assert prove_regimes(RELU, bounds, 6, 1).tolist() == [UNSURE] * 6
    assert prove_regimes(RELU, bounds.tainted(), 3, 1).tolist() == [ON, UNSURE, UNSURE]


def test_knots_by_channel() -> None:
    knots = Activation((np.array([0.0, 2.0]),), ((0.0, 0.0), (1.0, np.array([0.0, -2.0]))), axis=1)
    assert prove_regimes(knots, interval(1.0, 1.5), 2, 1).tolist() == [ON, OFF]
    assert prove_regimes(knots, interval(1.0, 1.5), 2, 3).tolist() == [UNSURE, UNSURE]


def test_description() -> None:
    assert describe(interval(0.0, np.inf)) == "z in [0, inf)"
    assert describe(interval(-np.inf, 1.25)) == "z in (-inf, 1.25]"
    assert describe(interval([0, 1], [1, 2], axis=1)) == "z in [0, 2], told apart by channel"


def test_registered_makers_agree() -> None:
    """The makers of activations/ give pieces that this module can prove."""
    relu = ACTIVATIONS["Relu"](OpView("Relu"))
    assert isinstance(relu, Activation)
    assert prove_regimes(relu, interval(0.0, 1.0), 4, 1).tolist() == [ON] * 4
