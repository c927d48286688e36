"""Linear relaxation: what it proves beyond intervals, and what it must leave alone."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.inspection import prove
from onnx_nepenthe.opview import OpView, Tensor
from onnx_nepenthe.prove import Bounds, bounds_of
from onnx_nepenthe.proving.crown import Bend, relaxed_bounds
from onnx_nepenthe.proving.crown_boxes import Box
from onnx_nepenthe.proving.crown_nodes import affine_node
from onnx_nepenthe.proving.effort import Effort
from onnx_nepenthe.rectifiers import find_rectifiers

OFF, ON, UNSURE = 0, 1, -1
IMAGE = "float[N,2,4,4] x"
HALF = "float half = {0.5}"


def view_of(nodes: str, *constants: str, inputs: str = IMAGE, opset: int = 17) -> GraphView:
    held = f"<{', '.join(constants)}>" if constants else ""
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => (y) {held} {{ {nodes} }}'
    return view_from_model(ir.from_proto(onnx.parser.parse_model(text)))


def proofs(view: GraphView, budget_s: float = 30.0, **ranges: tuple[float, float]) -> dict[str, list[int]]:
    rectifiers, _ = find_rectifiers(view)
    return {key: pieces.tolist() for key, (pieces, _) in prove(view, rectifiers, ranges, Effort(budget_s)).items()}


def relaxed(view: GraphView, budget_s: float = 30.0, **ranges: tuple[float, float]) -> dict[str, Bounds]:
    rectifiers, _ = find_rectifiers(view)
    bends = {r.output: Bend(r.operand, r.activation, r.axis) for r in rectifiers}
    return relaxed_bounds(view, bounds_of(view, ranges), bends, Effort(budget_s))


CORRELATED = {
    "a branch and its opposite": "n = Neg(x) s = Add(x, n) z = Add(s, half) y = Relu(z)",
    "subtraction": "i = Identity(x) s = Sub(i, x) z = Add(s, half) y = Relu(z)",
    "a residual of a convolution": "c = Conv(x, W) s = Add(x, c) z = Add(s, half) y = Relu(z)",
    "a depthwise convolution": "c = Conv<group=2>(x, D) s = Add(x, c) z = Add(s, half) y = Relu(z)",
    "a product": "c = Mul(x, M) s = Add(c, x) z = Add(s, half) y = Relu(z)",
    "a transposition there and back": (
        "t = Transpose<perm=[0,2,3,1]>(x) b = Transpose<perm=[0,3,1,2]>(t) s = Sub(b, x) z = Add(s, half) y = Relu(z)"
    ),
    "a split and its concatenation": (
        "a, b = Split<axis=1>(x) c = Concat<axis=1>(a, b) s = Sub(c, x) z = Add(s, half) y = Relu(z)"
    ),
    "a reshape there and back": ("f = Flatten(x) b = Reshape(f, T) s = Sub(b, x) z = Add(s, half) y = Relu(z)"),
    "means": ("a = GlobalAveragePool(x) b = ReduceMean<axes=[2,3]>(x) s = Sub(a, b) z = Add(s, half) y = Relu(z)"),
    "average pools": (
        "a = AveragePool<kernel_shape=[2,2]>(x) b = AveragePool<kernel_shape=[2,2]>(x) s = Sub(a, b)"
        " z = Add(s, half) y = Relu(z)"
    ),
    "batch normalisation": (
        "a = BatchNormalization(x, V, B, V, V) n = Neg(a) s = Add(a, n) z = Add(s, half) y = Relu(z)"
    ),
    "a maximum over one": "a = MaxPool<kernel_shape=[1,1]>(x) s = Sub(a, x) z = Add(s, half) y = Relu(z)",
    "two rectifiers": "a = Relu(x) b = LeakyRelu(a) s = Sub(b, a) z = Add(s, half) y = Relu(z)",
}
CONSTANTS = (
    HALF,
    "float[2,2,1,1] W = {-1, 0, 0, -1}",
    "float[2,1,1,1] D = {-1, -1}",
    "float[2,1,1] M = {-1, -1}",
    "int64[4] T = {0, 2, 4, -1}",
    "float[2] V = {1, 1}, float[2] B = {0, 3}",
)


@pytest.mark.parametrize("name", CORRELATED)
def test_branches_that_hang_together(name: str) -> None:
    view = view_of(CORRELATED[name], *CONSTANTS)
    assert proofs(view, 0.0, x=(-2, 2))["y"] == [UNSURE, UNSURE]
    assert proofs(view, x=(-2, 2))["y"] == [ON, ON]


def test_a_second_choice_of_lines() -> None:
    """relu(x) >= x, although for x in [-4, 1] CROWN's first choice is relu(x) >= 0."""
    view = view_of("a = Relu(x) s = Sub(a, x) z = Add(s, half) y = Relu(z)", "float half = {0.01}")
    assert proofs(view, x=(-4, 1))["y"] == [ON, ON]


def test_neurons_of_one_input() -> None:
    """z = relu(x1 + x2) - relu(x1 + x2 - 1) lies in [0, 1]; intervals put it in [-1, 2]."""
    view = view_of(
        "h = Gemm<transB=1>(x, w, b) a = Relu(h) z = Gemm<transB=1>(a, v, c) y = Relu(z)",
        "float[2,2] w = {1, 1, 1, 1}, float[2] b = {0, -1}, float[2,2] v = {1, -1, -1, 1}, float[2] c = {0.01, -0.01}",
        inputs="float[N,2] x",
    )
    assert proofs(view, 0.0, x=(0, 1))["y"] == [UNSURE, UNSURE]
    assert proofs(view, x=(0, 1))["y"] == [ON, OFF]


def test_positions_are_told_apart() -> None:
    """At the border fewer taps see the image: z >= 4 * 0.4 - 1.5 > 0 everywhere, although a tap may see 0."""
    view = view_of(
        "z = Conv<pads=[1,1,1,1]>(x, w, b) y = Relu(z)",
        f"float[1,2,3,3] w = {{{', '.join(['1'] * 18)}}}, float[1] b = {{-3}}",
    )
    assert proofs(view, 0.0, x=(0.4, 0.6))["y"] == [UNSURE]
    assert proofs(view, x=(0.4, 0.6))["y"] == [ON]


PREPROCESSING = {
    "divided": "f = Cast<to=1>(x) u = Div(f, d) n = Sub(u, m) p = Div(n, s)",
    "multiplied": "f = Cast<to=1>(x) u = Mul(f, r) n = Sub(u, m) p = Mul(n, i)",
    "added": "f = Cast<to=1>(x) u = Div(f, d) n = Add(u, k) p = Div(n, s)",
    "last": "t = Transpose<perm=[0,2,3,1]>(x) f = Cast<to=1>(t) u = Div(f, d) n = Sub(u, ml) o = Div(n, sl)"
    " p = Transpose<perm=[0,3,1,2]>(o)",
    "as one normalisation": "f = Cast<to=1>(x) u = Div(f, d) p = BatchNormalization(u, one, zero, mv, vv)",
}
NUMBERS = (
    "float d = {255}, float r = {0.003921569}, float[2,1,1] m = {0.25, 0.5}, float[2,1,1] k = {-0.25, -0.5}",
    "float[1,2,1,1] s = {0.25, 0.5}, float[2,1,1] i = {4, 2}, float[2] ml = {0.25, 0.5}, float[2] sl = {0.25, 0.5}",
    "float[2] one = {1, 1}, float[2] zero = {0, 0}, float[2] mv = {0.25, 0.5}, float[2] vv = {0.06249, 0.24999}",
    "float[3,2,1,1] w = {1, 1, 1, 1, 1, -1}, float[3] b = {2.01, -4.1, 0}",
)


@pytest.mark.parametrize("name", PREPROCESSING)
def test_preprocessing_is_recognised(name: str) -> None:
    """Bytes / 255, less the mean, over the deviation: channel 0 in [-1, 3], channel 1 in [-1, 1]; no range is given."""
    view = view_of(f"{PREPROCESSING[name]} z = Conv(p, w, b) y = Relu(z)", *NUMBERS, inputs="uint8[N,2,4,4] x")
    bounds = bounds_of(view, {})["p"]
    assert bounds.axis == 1
    np.testing.assert_allclose([bounds.low, bounds.high], [[-1, -1], [3, 1]], atol=1e-3)
    assert proofs(view, 0.0)["y"] == [ON, OFF, UNSURE]
    more = "float[2,2,1,1] e = {-1, 0, 0, -1}, float h = {0.1}"
    residual = f"{PREPROCESSING[name]} c = Conv(p, e) q = Add(c, p) z = Add(q, h) y = Relu(z)"
    branched = view_of(residual, *NUMBERS, more, inputs="uint8[N,2,4,4] x")
    assert proofs(branched, 0.0)["y"] == [UNSURE, UNSURE]
    assert proofs(branched)["y"] == [ON, ON]


@pytest.mark.parametrize(
    "nodes",
    [
        "t = Transpose<perm=[1,0,2,3]>(x) u = Neg(t) s = Add(t, u) y = Relu(s)",
        "t = Reshape(x, shape) u = Neg(t) s = Add(t, u) y = Relu(s)",
        "t = ReduceMean<axes=[0]>(x) u = Neg(t) s = Add(t, u) y = Relu(s)",
    ],
)
def test_values_that_mix_samples_start_anew(nodes: str) -> None:
    """What comes after may only be bounded by what intervals say of the mixture."""
    view = view_of(nodes, "int64[2] shape = {2, -1}", inputs="float[2,2,4,4] x")
    found = relaxed(view, x=(-1, 1))
    for bounds in found.values():
        assert np.all(bounds.low >= -2.001)
        assert np.all(bounds.high <= 2.001)


def test_only_the_first_output_is_the_value() -> None:
    """The mask of Dropout is a float before opset 10, and is not x."""
    op = OpView("Dropout", 9, inputs=(Tensor("x", ("N", 3)),), outputs=("a", "mask"), output_shapes=(("N", 3),) * 2)
    boxes = {"x": Box(-np.ones((1, 3)), np.ones((1, 3)))}
    assert affine_node(op, 0, "float", boxes) is not None
    assert affine_node(op, 1, "float", boxes) is None


def test_what_follows_a_large_value_is_left_to_intervals() -> None:
    """A small value behind a large one would start from bounds that are hopeless."""
    nodes = "a = Resize(x, , k) b = GlobalAveragePool(a) n = Neg(b) s = Add(b, n) z = Add(s, half) y = Relu(z)"
    small = view_of(nodes, HALF, "float[4] k = {1, 1, 2, 2}")
    large = view_of(nodes, HALF, "float[4] k = {1, 1, 64, 64}")
    assert proofs(small, x=(-1, 1))["y"] == [ON, ON]
    assert relaxed(large, x=(-1, 1)) == {}


def test_a_broadcast_over_samples_is_sound() -> None:
    """x of every sample less x of one sample is not zero."""
    view = view_of("s = Sub(a, x) y = Relu(s)", inputs="float[3,4] x, float[1,4] a")
    assert proofs(view, x=(-1, 1), a=(-1, 1))["y"] == [UNSURE] * 4


@pytest.mark.parametrize(
    ("inputs", "ranges"),
    [(IMAGE, {}), ("float[N,2,H,W] x", {"x": (-1, 1)}), ("float[N,2,300,300] x", {"x": (-1, 1)})],
)
def test_unbounded_unknown_and_large_values_are_left_to_intervals(
    inputs: str, ranges: dict[str, tuple[float, float]]
) -> None:
    view = view_of(CORRELATED["a branch and its opposite"], HALF, inputs=inputs)
    assert relaxed(view, **ranges) == {}
    assert proofs(view, **ranges)["y"] == [UNSURE, UNSURE]


def test_a_spent_budget_leaves_intervals(caplog: pytest.LogCaptureFixture) -> None:
    view = view_of(CORRELATED["two rectifiers"], HALF)
    with caplog.at_level(logging.INFO):
        assert "z" not in relaxed(view, budget_s=-1.0, x=(-2, 2))
    assert "was cut off after -1 s" in caplog.text


def test_the_result_depends_on_the_graph_alone() -> None:
    view = view_of(CORRELATED["two rectifiers"], HALF)
    first, second = relaxed(view, x=(-2, 2)), relaxed(view, x=(-2, 2))
    assert first.keys() == second.keys()
    for name, bounds in first.items():
        np.testing.assert_array_equal(bounds.low, second[name].low)
        np.testing.assert_array_equal(bounds.high, second[name].high)


def test_cancellation_is_not_trusted() -> None:
    """2^30 x - 2^30 x + 0.5 may be anything when it is summed in single precision."""
    nodes = "z = Gemm<transB=1>(x, w, b) y = Relu(z)"
    view = view_of(nodes, "float[1,2] w = {1073741824, -1073741824}, float[1] b = {0.5}", inputs="float[N,2] x")
    assert proofs(view, x=(1, 1))["y"] == [UNSURE]


def test_half_precision_needs_a_wider_margin() -> None:
    """The parser takes float16 as bits: 5145 is 0.001."""
    nodes = "n = Neg(x) s = Add(x, n) z = Add(s, c) y = Relu(z)"
    for kind, number, piece in (("float", "0.001", ON), ("float16", "5145", UNSURE)):
        view = view_of(nodes, f"{kind}[1] c = {{{number}}}", inputs=f"{kind}[N,3] x")
        assert proofs(view, x=(-1, 1))["y"] == [piece] * 3


def test_what_may_overflow_is_left_to_intervals() -> None:
    """25552 is 1000 and 24528 is 500 as bits of a float16."""
    nodes = "a = Mul(x, k) n = Neg(a) s = Add(a, n) z = Add(s, c) y = Relu(z)"
    view = view_of(nodes, "float16[1] k = {25552}, float16[1] c = {24528}", inputs="float16[N,3] x")
    assert proofs(view, x=(-1, 1))["y"] == [ON] * 3
    assert proofs(view, x=(-100, 100))["y"] == [UNSURE] * 3


def test_a_nan_upstream_still_forbids_constants() -> None:
    nodes = "l = Log(x) a = Tanh(l) n = Neg(a) s = Add(a, n) z = Sub(s, half) y = Relu(z)"
    assert proofs(view_of(nodes, HALF), x=(-1, 1))["y"] == [UNSURE, UNSURE]
    assert proofs(view_of(nodes, HALF), x=(1, 2))["y"] == [OFF, OFF]


def test_the_evidence_says_how() -> None:
    view = view_of(CORRELATED["subtraction"], HALF)
    rectifiers, _ = find_rectifiers(view)
    ((_, how),) = prove(view, rectifiers, {"x": (-2, 2)}, Effort(30.0)).values()
    assert how == "CROWN bound z in [0.5, 0.5] for x in [-2, 2]"
    ((_, how),) = prove(view, rectifiers, {"x": (-2, 2)}).values()
    assert how == "z in [-3.5, 4.5]"
