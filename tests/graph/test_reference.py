"""onnx.reference as a runner, and what precision a model computes in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_nepenthe.errors import UnreadableError, UnsupportedError
from onnx_nepenthe.graph.reference import ReferenceRunner, coarsest_precision, identity_model, run_reference


def model(*nodes: object, dtype: int = TensorProto.FLOAT, weight: np.ndarray | None = None) -> ir.Model:
    x, y = (helper.make_tensor_value_info(name, dtype, ("n", 2)) for name in "xy")
    weights = [] if weight is None else [numpy_helper.from_array(weight, "w")]
    graph = helper.make_graph(list(nodes), "small", [x], [y], weights)
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


RELU = helper.make_node("Relu", ["x"], ["y"])


def test_it_runs_and_describes_itself() -> None:
    runner = ReferenceRunner(model(RELU))
    assert [(p.name, p.shape, p.dtype) for p in runner.inputs] == [("x", ("n", 2), "float")]
    assert [(p.name, p.shape, p.dtype) for p in runner.outputs] == [("y", ("n", 2), "float")]
    (result,) = runner.run({"x": np.array([[-1.0, 2.0]], np.float32)}, ["y"])
    assert result.tolist() == [[0.0, 2.0]]


def test_initializers_that_are_inputs_need_no_feed() -> None:
    node = helper.make_node("Add", ["x", "w"], ["y"])
    with_weight = model(node, weight=np.ones(2, np.float32))
    with_weight.graph.inputs.append(with_weight.graph.initializers["w"])
    assert [port.name for port in ReferenceRunner(with_weight).inputs] == ["x"]
    assert run_reference(with_weight, {"x": np.zeros((1, 2), np.float32)})[0].tolist() == [[1.0, 1.0]]


def test_the_identity_model_hands_its_input_over() -> None:
    assert run_reference(identity_model(), {"x": np.array([3.0], np.float32)})[0].tolist() == [3.0]


def test_paths(tmp_path: Path) -> None:
    ir.save(identity_model(), tmp_path / "model.onnx")
    assert ReferenceRunner(tmp_path / "model.onnx").outputs[0].name == "y"
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(UnreadableError, match=r"bad\.onnx cannot be read"):
        ReferenceRunner(tmp_path / "bad.onnx")


def test_unknown_operators_and_wrong_feeds_are_one_line_errors() -> None:
    with pytest.raises(UnsupportedError, match=r"onnx\.reference cannot run small: .*Mystery") as unknown:
        ReferenceRunner(model(helper.make_node("Mystery", ["x"], ["y"])))
    assert "\n" not in str(unknown.value)
    with pytest.raises(UnsupportedError, match=r"onnx\.reference cannot run small"):
        run_reference(model(RELU), {})


def cast(to: int) -> list[object]:
    return [
        helper.make_node("Cast", ["x"], ["a"], to=to),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT),
    ]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda: model(RELU), "float"),
        (lambda: model(RELU, dtype=TensorProto.DOUBLE), "double"),
        (lambda: model(RELU, dtype=TensorProto.FLOAT16), "float16"),
        (lambda: model(*cast(TensorProto.FLOAT16)), "float16"),
        (lambda: model(*cast(TensorProto.BFLOAT16)), "bfloat16"),
        (lambda: model(*cast(TensorProto.DOUBLE)), "float"),
        (lambda: model(RELU, dtype=TensorProto.INT64), "float"),
        (lambda: model(helper.make_node("Add", ["x", "w"], ["y"]), weight=np.ones(2, np.float16)), "float16"),
        (lambda: model(helper.make_node("QuantizeLinear", ["x", "w"], ["y"]), weight=np.ones((), np.float32)), "int8"),
    ],
    ids=["float", "double", "float16", "cast16", "bfloat16", "cast64", "integers", "weight", "quantised"],
)
def test_the_coarsest_precision_decides(made: object, expected: str) -> None:
    assert coarsest_precision(made()) == expected
