"""Where weights live, who else uses them, and which of them count as nothing."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.helpers.build import NUMPY, Array, Builder, Home
from tests.helpers.compare import assert_same, feeds_for, operators
from tests.helpers.exact import collapse_exact
from tests.helpers.unharmed import SIZES, builder, collapsed, unharmed

STATIC, DYNAMIC = [2, 4, 6, 5], ["N", 4, "H", "W"]
BOTH = pytest.mark.parametrize("dims", [STATIC, DYNAMIC], ids=["known", "any"])


def weights(model: onnx.ModelProto) -> list[Array]:
    return [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]


@BOTH
def test_two_convolutions_share_their_weights(dims: list[int | str]) -> None:
    """The one that a batch norm joins changes a copy."""
    g = builder()
    shared, bias = g.constant(g.random(4, 4, 3, 3)), g.constant(g.random(4))
    first = g.node("Conv", "x", shared, bias, pads=[1, 1, 1, 1])
    second = g.node("Conv", g.node("Relu", g.batch_norm(first, 4)), shared, bias, pads=[1, 1, 1, 1])
    after = collapsed(g, {"x": dims}, [second])
    assert operators(after) == {"Conv": 2, "Relu": 1}
    assert any(np.array_equal(w, numpy_helper.to_array(g.initializers[0])) for w in weights(after))


@BOTH
def test_two_convolutions_share_their_weights_and_both_change(dims: list[int | str]) -> None:
    g = builder()
    shared = g.constant(g.random(4, 4, 1, 1))
    branches = [g.batch_norm(g.node("Conv", source, shared), 4) for source in ("x", g.node("Sigmoid", "x"))]
    after = collapsed(g, {"x": dims}, branches)
    assert operators(after) == {"Conv": 2, "Sigmoid": 1}
    assert len([w for w in weights(after) if w.ndim == 4]) == 2


def test_one_initializer_is_weight_here_and_operand_there() -> None:
    g = builder()
    shared = g.constant(g.positive(4, 4))
    folded = g.node("Mul", g.node("MatMul", "x", shared), g.constant(2.0))
    kept = g.node("Max", g.node("MatMul", g.node("Sigmoid", folded), shared), shared)
    after = collapsed(g, {"x": [4, 4]}, [kept])
    assert operators(after) == {"MatMul": 2, "Sigmoid": 1, "Max": 1}
    assert any(np.array_equal(w, numpy_helper.to_array(g.initializers[0])) for w in weights(after))


def test_one_initializer_is_scale_and_shift() -> None:
    g = builder()
    shared = g.constant(g.positive(4))
    y = g.node("BatchNormalization", g.conv("x", (4, 4), (1, 1)), shared, shared, shared, shared)
    assert operators(collapsed(g, {"x": DYNAMIC}, [y])) == {"Conv": 1}


def test_one_initializer_is_used_in_a_subgraph_too() -> None:
    g = builder()
    shared = g.constant(g.positive(4, 1, 1), "shared")
    y = g.node("Mul", g.conv("x", (4, 4), (1, 1)), "shared")
    body = onnx.parser.parse_graph("body () => (float[4, 1, 1] out) { out = Neg (shared) }")
    other = onnx.parser.parse_graph("other () => (float[4, 1, 1] out2) { out2 = Abs (shared) }")
    z = g.node("If", g.constant(np.array(True)), then_branch=body, else_branch=other)
    after = collapsed(g, {"x": DYNAMIC}, [g.node("Max", y, z)])
    assert operators(after) == {"Conv": 1, "If": 1, "Max": 1}
    assert shared in {tensor.name for tensor in after.graph.initializer}


@pytest.mark.parametrize("part", ["weight", "scale"])
def test_a_weight_that_a_caller_may_feed_stays(part: str) -> None:
    """Since IR 4 an initializer that is an input is only a default."""
    g = builder()
    homes: dict[str, Home] = {"weight": "initializer", "scale": "initializer", part: "input"}
    weight = g.constant(g.random(3, 4, 1, 1), "weight", homes["weight"])
    scale = g.constant(g.positive(3, 1, 1), "scale", homes["scale"])
    y = g.node("Mul", g.node("Conv", "x", weight), scale)
    before = g.model({"x": DYNAMIC}, [y])
    after = unharmed(before)
    assert operators(after) == {"Conv": 1, "Mul": 1}
    feeds = feeds_for(before, np.random.default_rng(1), SIZES)
    shape = (3, 4, 1, 1) if part == "weight" else (3, 1, 1)
    assert_same(after, before, feeds | {part: np.full(shape, 3, np.float32)}, 1e-5)


def test_before_ir_4_every_weight_is_an_input_and_none_may_be_fed() -> None:
    g = builder(opset=8, ir_version=3)
    y = g.batch_norm(g.conv("x", (4, 3), (1, 1)), 3)
    before = g.model({"x": DYNAMIC}, [y])
    assert len(before.graph.input) == 1 + len(before.graph.initializer)
    after = unharmed(before)
    assert operators(after) == {"Conv": 1}
    assert {info.name for info in after.graph.input} == {"x"} | {tensor.name for tensor in after.graph.initializer}


def test_integers_before_ir_4_and_opset_9_are_weights() -> None:
    """Constant holds only floats there."""
    g = builder(opset=7, ir_version=3)
    rows = g.node("Reshape", "x", g.constant(np.array([2, 4, 30])))
    y = g.node("Reshape", g.node("Neg", g.node("Neg", rows)), g.constant(np.array([8, 30])))
    assert operators(collapsed(g, {"x": STATIC}, [y])) == {"Reshape": 1}


@pytest.mark.parametrize("opset", [9, 13, 17])
def test_weights_in_constant_nodes(opset: int) -> None:
    g = builder(opset)
    weight = g.constant(g.random(3, 4, 3, 3), home="node")
    first = g.node("Conv", "x", weight, g.constant(g.random(3), home="node"), pads=[1, 1, 1, 1])
    y = g.node("Mul", first, g.constant(g.positive(3, 1, 1), home="node"))
    after = collapsed(g, {"x": DYNAMIC}, [y])
    assert [node.op_type for node in after.graph.node] == ["Conv"]


def test_weights_behind_identities() -> None:
    g = builder()
    weight = g.node("Identity", g.node("Identity", g.constant(g.random(3, 4, 1, 1))))
    y = g.batch_norm(g.node("Conv", "x", weight), 3)
    after = collapsed(g, {"x": DYNAMIC}, [y])
    assert [node.op_type for node in after.graph.node] == ["Conv"]


def test_weights_from_constant_of_shape() -> None:
    g = builder()
    fill = onnx.helper.make_tensor("value", onnx.TensorProto.FLOAT, [1], [0.5])
    weight = g.node("ConstantOfShape", g.constant(np.array([3, 4, 1, 1])), value=fill)
    after = collapsed(g, {"x": DYNAMIC}, [g.batch_norm(g.node("Conv", "x", weight), 3)])
    assert operators(after) == {"Conv": 1}


def test_an_omitted_bias() -> None:
    g = builder()
    y = g.batch_norm(g.node("Conv", "x", g.constant(g.random(3, 4, 1, 1)), ""), 3)
    assert operators(collapsed(g, {"x": DYNAMIC}, [y])) == {"Conv": 1}


def test_an_omitted_addend() -> None:
    g = builder()
    y = g.node("Add", g.node("Gemm", "x", g.constant(g.random(4, 3)), ""), g.constant(g.random(3)))
    assert operators(collapsed(g, {"x": ["N", 4]}, [y])) == {"Gemm": 1}


@pytest.mark.parametrize("bounds", [("", "high"), ("low", ""), ("", ""), ("low",), ()], ids=str)
def test_omitted_bounds(bounds: tuple[str, ...]) -> None:
    g = builder()
    for name, value in (("low", -0.5), ("high", 0.5)):
        g.constant(value, name)
    y = g.conv(g.node("Clip", g.conv("x", (4, 3), (1, 1)), *bounds), (3, 2), (1, 1))
    after = collapsed(g, {"x": DYNAMIC}, [y])
    assert operators(after) == ({"Conv": 2, "Clip": 1} if any(bounds) else {"Conv": 1})


def test_omitted_ends_of_a_slice() -> None:
    g = builder()
    part = g.node("Slice", "x", g.constant(np.array([1])), g.constant(np.array([3])), g.constant(np.array([1])), "")
    assert operators(collapsed(g, {"x": DYNAMIC}, [g.conv(part, (2, 3), (1, 1))])) == {"Conv": 1}


@BOTH
def test_a_filter_whose_weights_sum_to_zero_is_not_dead(dims: list[int | str]) -> None:
    g = builder()
    weight = g.random(4, 4, 3, 3)
    weight[:2] -= weight[:2].mean(axis=(1, 2, 3), keepdims=True)
    weight[0] = np.array([[[0, 0, 0], [-1, 0, 1], [0, 0, 0]]] * 4)
    first = g.node("Conv", "x", g.constant(weight), pads=[1, 1, 1, 1])
    y = g.conv(g.node("Relu", first), (4, 3), (1, 1))
    after = collapsed(g, {"x": dims}, [y])
    assert operators(after) == {"Conv": 2, "Relu": 1}
    assert (4, 4, 3, 3) in [w.shape for w in weights(after)]


@BOTH
def test_a_merged_kernel_that_sums_to_zero_is_not_dead(dims: list[int | str]) -> None:
    """[1, 1] then [1, -1] is [1, 0, -1]."""
    g = builder()
    first = g.node("Conv", "x", g.constant(np.ones((4, 1, 1, 2), np.float32)), group=4)
    second = g.node("Conv", first, g.constant(np.array([[[[1, -1]]]] * 4, np.float32)), group=4)
    after = collapsed(g, {"x": dims}, [second])
    assert operators(after) == {"Conv": 1}
    assert weights(after)[0].reshape(4, 3).tolist() == [[1, 0, -1]] * 4


def test_weights_that_cancel_are_dead() -> None:
    g = builder()
    weight = g.random(3, 4, 1, 1)
    y = g.node("Add", g.node("Conv", "x", g.constant(weight)), g.node("Conv", "x", g.constant(-weight)))
    assert operators(collapse_exact(g.model({"x": STATIC}, [y]))) == {"Identity": 1}
    assert operators(collapsed(g, {"x": STATIC}, [y])) == {"Identity": 1}


@pytest.mark.parametrize(("dtype", "factor"), [("float16", 300.0), ("float", 1e30)])
def test_weights_that_would_overflow_stay_apart(dtype: str, factor: float) -> None:
    g = Builder(np.random.default_rng(5), dtype=dtype)
    y = g.node("Mul", g.node("Mul", "x", g.constant(factor)), g.constant(factor))
    before = g.model({"x": [1, 3]}, [y])
    after = collapse_exact(before)
    assert operators(after) == {"Mul": 2}
    tiny = np.array([[1, -0.5, 0]], NUMPY[dtype]) / NUMPY[dtype](factor)
    assert_same(after, before, {"x": tiny}, 0.0)


def test_weights_that_just_fit_are_merged() -> None:
    g = Builder(np.random.default_rng(5), dtype="float16")
    y = g.node("Mul", g.node("Mul", "x", g.constant(250.0)), g.constant(250.0))
    before = g.model({"x": [1, 3]}, [y])
    assert operators(collapse_exact(before)) == {"Mul": 1}


def test_a_layer_without_channels() -> None:
    g = builder()
    hidden = g.node("Gemm", "x", g.constant(np.zeros((4, 0), np.float32)), g.constant(np.zeros(0, np.float32)))
    y = g.node("Gemm", g.node("Relu", hidden), g.constant(np.zeros((0, 3), np.float32)), g.constant(g.random(3)))
    unharmed(g.model({"x": ["N", 4]}, [y]))
