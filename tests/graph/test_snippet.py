"""Parts of models: they run, and compute what they computed inside."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnx_nepenthe.graph.snippet import INPUT, Entrance, blank, cut, with_outputs
from tests.helpers.build import Builder
from tests.helpers.compare import run_runtime


def chain(dims: tuple[int | str, ...] = ("N", 4)) -> onnx.ModelProto:
    g = Builder(np.random.default_rng(0))
    a = g.node("Relu", g.gemm("x", (4, 6)), out="a")
    b = g.node("Add", g.gemm(a, (6, 6)), a, out="b")
    return g.model({"x": dims}, [g.node("Sigmoid", b, out="y")])


def test_a_blank_model_has_one_input_and_the_versions_of_its_like() -> None:
    like = ir.from_proto(chain())
    made = blank((2, 3), "float16", like)
    (value,) = made.graph.inputs
    assert (value.name, value.dtype, list(value.shape or ())) == (INPUT, ir.DataType.FLOAT16, [2, 3])
    assert (made.ir_version, made.opset_imports) == (like.ir_version, {"": 17})
    assert not list(made.graph)


def test_a_part_computes_what_it_computed_inside() -> None:
    model = ir.from_proto(chain())
    whole = with_outputs(model, ["a", "b"])
    x = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
    a, b = run_runtime(ir.to_proto(whole), {"x": x})
    part = ir.to_proto(cut(model, [Entrance("a", (3, 6), "float")], ["b"]))
    assert [node.op_type for node in part.graph.node] == ["Gemm", "Add"]
    assert len(part.graph.initializer) == 2
    np.testing.assert_array_equal(run_runtime(part, {"a": a})[0], b)


def test_the_entrance_has_the_size_it_is_given() -> None:
    part = cut(ir.from_proto(chain()), [Entrance("a", (7, 6), "float")], ["y"])
    assert list(part.graph.inputs[0].shape or ()) == [7, 6]
    assert run_runtime(ir.to_proto(part), {"a": np.zeros((7, 6), np.float32)})[0].shape == (7, 6)


def test_an_entrance_may_lie_behind_another() -> None:
    entrances = [Entrance("x", (2, 4), "float"), Entrance("a", (2, 6), "float")]
    part = ir.to_proto(cut(ir.from_proto(chain()), entrances, ["b"]))
    assert [value.name for value in part.graph.input] == ["x", "a"]
    assert [node.op_type for node in part.graph.node] == ["Gemm", "Add"]


def test_the_model_is_not_changed() -> None:
    proto = chain()
    model = ir.from_proto(proto)
    before = ir.to_proto(model).SerializeToString()
    cut(model, [Entrance("a", (3, 6), "float")], ["b"])
    with_outputs(model, ["a"])
    assert ir.to_proto(model).SerializeToString() == before


def test_a_part_that_needs_more_is_refused() -> None:
    with pytest.raises(ValueError, match="x"):
        cut(ir.from_proto(chain()), [Entrance("b", (3, 6), "float")], ["a"])
    with pytest.raises(ValueError, match="nowhere"):
        cut(ir.from_proto(chain()), [Entrance("nowhere", (3, 6), "float")], ["y"])


def test_outputs_come_in_the_order_asked_for() -> None:
    assert [v.name for v in with_outputs(ir.from_proto(chain()), ["b", "a", "y"]).graph.outputs] == ["b", "a", "y"]


def test_a_value_of_the_same_name_in_a_subgraph_is_not_meant() -> None:
    """Bodies of one If may use a name each; the one asked for is in the main graph."""
    bodies = [
        helper.make_graph(
            [helper.make_node("Neg", ["a"], ["inner"]), helper.make_node("Neg", ["inner"], [f"last{at}"])],
            f"body{at}",
            [],
            [helper.make_tensor_value_info(f"last{at}", TensorProto.FLOAT, None)],
        )
        for at in range(2)
    ]
    g = Builder(np.random.default_rng(0))
    g.node("Relu", "x", out="a")
    condition = g.node("Greater", g.node("ReduceSum", "x", keepdims=0), g.constant(0.0))
    g.node("If", condition, out="y", then_branch=bodies[0], else_branch=bodies[1])
    proto = g.model({"x": (2, 4)}, ["a"])
    model = ir.from_proto(proto)
    x = np.ones((2, 4), np.float32)
    got = run_runtime(ir.to_proto(with_outputs(model, ["y", "a"])), {"x": x})
    np.testing.assert_array_equal(got[1], x)
    part = ir.to_proto(cut(model, [Entrance(n, (2, 4), "float") for n in ("x", "a")], ["y"]))
    np.testing.assert_array_equal(run_runtime(part, {"x": x, "a": 2 * x})[0], 2 * x)


def test_functions_and_other_domains_come_along() -> None:
    double = helper.make_function(
        "own", "Twice", ["v"], ["w"], [helper.make_node("Add", ["v", "v"], ["w"])], [helper.make_opsetid("", 17)]
    )
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Twice", ["a"], ["y"], domain="own")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[double], ir_version=9)
    part = ir.to_proto(cut(ir.from_proto(model), [Entrance("a", (2,), "float")], ["y"]))
    np.testing.assert_array_equal(run_runtime(part, {"a": np.ones(2, np.float32)})[0], [2, 2])
