"""The counting model: only counts leave it, and nothing unneeded is left in it."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from onnx_nepenthe.graph.probe import Probe, Target, What, build_probe
from onnx_nepenthe.graph.samples import values_with_samples
from onnx_nepenthe.graph.view import view_from_model


def make(opset: int = 13, ir_version: int = 8, shape: Any = ("N", 3, 2)) -> ir.Model:
    """x + 1 → Relu → MatMul; the last is after every rectifier."""
    inputs = [helper.make_tensor_value_info("x", 1, shape)]
    weights = {"one": np.float32(1), "w": np.ones((2, 2), np.float32)}
    if ir_version < 4:
        inputs += [helper.make_tensor_value_info(name, 1, array.shape) for name, array in weights.items()]
    nodes = [
        helper.make_node("Add", ["x", "one"], ["z"]),
        helper.make_node("Relu", ["z"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        inputs,
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return ir.from_proto(
        helper.make_model(graph, ir_version=ir_version, opset_imports=[helper.make_opsetid("", opset)])
    )


TARGET = Target("r", "z", (np.array(0.0),), axis=1, channels=3)


def probe(model: ir.Model, **options: Any) -> Probe:
    return build_probe(model, view_from_model(model), [TARGET], What(**options))


@pytest.mark.parametrize(("opset", "ir_version"), [(7, 3), (7, 4), (9, 3), (13, 8), (18, 8), (21, 10)])
@pytest.mark.parametrize("careful", [(), ("r",)])
def test_the_counting_model_is_valid(opset: int, ir_version: int, careful: Any) -> None:
    built = probe(make(opset, ir_version), careful=careful)
    proto = ir.to_proto(built.model)
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(proto), full_check=True)
    assert proto.ir_version == ir_version
    assert [o.name for o in proto.graph.output] == list(built.taps[0].names)


def test_what_no_count_depends_on_is_gone() -> None:
    model = make()
    built = probe(model)
    ops = [node.op_type for node in built.model.graph]
    assert "MatMul" not in ops
    assert "w" not in built.model.graph.initializers
    assert [v.name for v in built.model.graph.inputs] == ["x"]
    assert [node.op_type for node in model.graph] == ["Add", "Relu", "MatMul"]


def test_counts_have_one_entry_per_channel_or_per_sample_and_channel() -> None:
    shapes = {}
    for rows in ((), ("z",)):
        built = probe(make(), rows=rows)
        view = view_from_model(built.model)
        shapes[rows] = view.tensors[built.taps[0].above[0]].shape
    assert shapes[()] == (3,)
    assert shapes["z",] == ("N", 3)


def test_values_with_samples_follow_the_batch() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["x", "shape"], ["r"]),
        helper.make_node("ReduceMax", ["x"], ["m"], axes=[0], keepdims=0),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", 1, (3, 3, 2))],
        [helper.make_tensor_value_info(n, 1, None) for n in ("t", "r", "m", "y")],
        [numpy_helper.from_array(np.array([3, 6]), "shape")],
    )
    model = ir.from_proto(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]))
    assert values_with_samples(model, {"x", "t", "r", "y", "absent"}, 3) == {"x", "r", "y"}
