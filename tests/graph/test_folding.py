"""Operators of constants: computed, limited, stored only where something needs them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnx_nepenthe.graph.folding import LARGEST_RESULT, evaluate_constants
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.opview import OpView, Shape, Tensor
from tests.helpers.build import Array, Builder
from tests.helpers.compare import assert_same, feeds_for, operators
from tests.helpers.exact import collapse_exact

ROW = np.array([-1.0, 0.0, 2.0], np.float32)
NAMES = {"float32": "float", "float64": "double"}


def const(name: str, value: Array) -> Tensor:
    return Tensor(name, value.shape, NAMES.get(str(value.dtype), str(value.dtype)), value)


def op(op_type: str, *inputs: Tensor | None, shape: Shape | None = (3,), **at: Any) -> OpView:
    outputs, version, domain = at.pop("outputs", ("y",)), at.pop("version", 17), at.pop("domain", "")
    subgraph = at.pop("has_subgraph", False)
    shapes = (shape,) * len(outputs)
    return OpView(op_type, version, domain, at, inputs, outputs, shapes, has_subgraph=subgraph)


STATISTICS = {"scale": [1.0, 1.0], "shift": [0.0, 0.0], "mean": [1.0, 1.0], "variance": [1.0, 4.0]}
COMPUTED = {
    "Relu": (op("Relu", const("a", ROW)), ROW.clip(0)),
    "Mul": (op("Mul", const("a", ROW), const("b", ROW)), ROW * ROW),
    "one operand twice": (op("Add", const("a", ROW), const("a", ROW)), ROW + ROW),
    "attribute": (op("LeakyRelu", const("a", ROW), alpha=0.5), np.array([-0.5, 0, 2], np.float32)),
    "omitted operand": (op("Clip", const("a", ROW), None, const("b", ROW[1])), ROW.clip(max=0)),
    "old version": (op("Clip", const("a", ROW), version=6, min=0.0, max=1.0), ROW.clip(0, 1)),
    "stored statistics before opset 14": (
        op(
            "BatchNormalization",
            const("x", np.array([[1.0, 3.0], [5.0, 7.0]], np.float32)),
            *(const(name, np.array(numbers, np.float32)) for name, numbers in STATISTICS.items()),
            shape=(2, 2),
            version=9,
            epsilon=0.0,
        ),
        np.array([[0.0, 1.0], [4.0, 3.0]], np.float32),
    ),
    "integers": (op("Cast", const("a", np.arange(3)), to=1), np.arange(3, dtype=np.float32)),
    "double": (op("Exp", const("a", ROW.astype(np.float64))), np.exp(ROW.astype(np.float64))),
    "scalar": (op("ReduceMax", const("a", ROW), shape=(), keepdims=0), np.float32(2)),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_computed(name: str) -> None:
    view, wanted = COMPUTED[name]
    (value,) = evaluate_constants(view, ["double" if wanted.dtype == np.float64 else "float"])
    np.testing.assert_array_equal(value, wanted)
    assert value.dtype == wanted.dtype


def test_several_outputs() -> None:
    view = op("Split", const("a", np.arange(6, dtype=np.float32)), outputs=("p", "q"))
    first, second = evaluate_constants(view, ["float", "float"])
    assert [first.tolist(), second.tolist()] == [[0, 1, 2], [3, 4, 5]]


LEFT_ALONE = {
    "not constant": op("Relu", Tensor("x", (3,))),
    "no operand": op("RandomNormal", dtype=1),
    "random": op("Dropout", const("a", ROW), const("r", ROW[1]), const("t", np.array(True))),
    "quantiser": op("DequantizeLinear", const("a", np.arange(3, dtype=np.uint8)), const("s", ROW[2])),
    "other domain": op("Gelu", const("a", ROW), domain="com.microsoft"),
    "subgraph": op("If", const("a", np.array(True)), has_subgraph=True),
    "unknown rank": op("Relu", const("a", ROW), shape=None),
    "unknown size": op("Relu", const("a", ROW), shape=("N",)),
    "large": op("Expand", const("a", ROW[0]), const("b", np.array([LARGEST_RESULT + 1])), shape=(LARGEST_RESULT + 1,)),
    "operands that do not fit": op("Add", const("a", ROW), const("b", np.ones(2, np.float32))),
    "unknown to onnx.reference": op("NoSuchOperator", const("a", ROW)),
    "other shape than inferred": op("Relu", const("a", ROW), shape=(4,)),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_left_alone(name: str) -> None:
    assert evaluate_constants(LEFT_ALONE[name], ["float"]) is None


@pytest.mark.parametrize("dtype", ["", "string", "uint8", "double"])
def test_other_types_are_left_alone(dtype: str) -> None:
    assert evaluate_constants(op("Relu", const("a", ROW)), [dtype]) is None


def test_a_weight_that_is_computed_is_read() -> None:
    g = Builder(np.random.default_rng(0))
    weight = g.node("Mul", g.constant(g.random(5, 4, 3, 3)), g.constant(g.positive(5, 1, 1, 1)))
    y = g.batch_norm(g.node("Conv", "x", weight), 5)
    before = g.model({"x": ["N", 4, "H", "W"]}, [y])
    after = collapse_exact(before)
    assert operators(after) == {"Conv": 1}
    assert len(after.graph.initializer) == 2
    assert_same(after, before, feeds_for(before, g.rng, {"N": 2, "H": 5, "W": 6}), 1e-5)


def test_only_the_last_constant_of_a_chain_is_stored() -> None:
    g = Builder(np.random.default_rng(0))
    shift = g.node("Unsqueeze", g.node("Exp", g.node("Relu", g.constant(g.random(4)))), g.constant(np.array([0])))
    before = g.model({"x": ["N", 4]}, [g.node("Max", "x", shift)])
    assert view_from_model(ir.from_proto(before)).computed == {n.output[0] for n in before.graph.node[:3]}
    after = collapse_exact(before)
    assert operators(after) == {"Max": 1}
    assert [list(t.dims) for t in after.graph.initializer] == [[1, 4]]
    assert_same(after, before, feeds_for(before, g.rng, {"N": 2}), 1e-6)


def test_a_computed_constant_that_is_an_output_keeps_its_name() -> None:
    g = Builder(np.random.default_rng(0))
    g.node("Relu", g.constant(g.random(4)), out="y")
    before = g.model({"x": ["N", 4]}, ["y", g.node("Sigmoid", g.node("Add", "x", "y"))])
    after = collapse_exact(before)
    assert operators(after) == {"Identity": 1, "Add": 1, "Sigmoid": 1}
    assert_same(after, before, feeds_for(before, g.rng, {"N": 2}), 1e-6)
