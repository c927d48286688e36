"""The counting model: only counts leave it, and nothing unneeded is left in it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
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


def test_each_layer_is_counted_before_the_next_one_runs(tmp_path: Path) -> None:
    """Otherwise every layer's values stay in memory to the end, and none is changed in place."""
    layers = 4
    nodes = [
        node
        for at in range(layers)
        for node in (
            helper.make_node("Add", [f"r{at}", "one"], [f"z{at + 1}"], name=f"add{at + 1}"),
            helper.make_node("Relu", [f"z{at + 1}"], [f"r{at + 1}"], name=f"relu{at + 1}"),
        )
    ]
    ends = [helper.make_tensor_value_info(name, 1, ["N", 3, 2]) for name in ("r0", f"r{layers}")]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], [numpy_helper.from_array(np.float32(1), "one")])
    model = ir.from_proto(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]))
    targets = [Target(f"relu{at}", f"z{at}", (np.array(0.0),), axis=1, channels=3) for at in range(1, layers + 1)]
    built = build_probe(model, view_from_model(model), targets)
    assert [taps.target.key for taps in built.taps] == [target.key for target in targets]
    ran = _ran(built, {"r0": np.zeros((2, 3, 2), np.float32)}, tmp_path)
    for at in range(1, layers):
        counting = [place for place, name in enumerate(ran) if name.startswith(f"relu{at}/Reduce")]
        assert counting
        assert max(counting) < ran.index(f"add{at + 1}")


def _ran(built: Probe, feeds: Any, folder: Path) -> list[str]:
    """Names of the operators in the order in which onnxruntime ran them."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "ran")
    model = ir.to_proto(built.model).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    session.run(None, feeds)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    timed = [event for event in events if event["name"].endswith("_kernel_time")]
    return [event["name"].removesuffix("_kernel_time") for event in sorted(timed, key=lambda event: event["ts"])]
