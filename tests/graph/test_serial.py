"""Models as bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx_nepenthe.graph.load import load
from onnx_nepenthe.graph.serial import to_bytes


def test_external_weights_that_somebody_looks_at(tmp_path: Path) -> None:
    """A view of the mapped file keeps it from being closed; reading the weights needs no closing."""
    weight = np.arange(400, dtype=np.float32).reshape(20, 20)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 20]) for name in "xy"]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "in.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    own = load(path)
    tensor = own.graph.initializers["w"].const_value
    assert tensor is not None
    view = tensor.numpy()
    for _ in range(2):
        (again,) = onnx.load_from_string(to_bytes(own)).graph.initializer
        np.testing.assert_array_equal(numpy_helper.to_array(again), view)
