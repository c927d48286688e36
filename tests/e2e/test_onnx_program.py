"""`torch.onnx.ONNXProgram` in, ModelProto out: from torch to a shallower model without a file."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import onnx_nepenthe
from onnx_nepenthe.graph.kinds import Kind, to_ir

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")


def program(bias: float) -> torch.onnx.ONNXProgram:
    """Three dense layers; with a large bias both rectifiers are lines."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)
    )
    with torch.no_grad():
        layers[0].bias += bias
    return torch.onnx.export(layers.eval(), (torch.zeros(1, 4),), dynamo=True, verbose=False)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("bias", "rectifiers"), [(50.0, 0), (0.0, 2)])
def test_a_program_comes_back_as_a_model(bias: float, rectifiers: int) -> None:
    given = program(bias)
    before = given.model_proto.SerializeToString()
    data = {"input": np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)}
    result = onnx_nepenthe.collapse(given, data=data, latency="off", freeze_initializers=True)
    assert type(result) is onnx.ModelProto
    onnx.checker.check_model(result, full_check=True)
    assert [node.op_type for node in result.graph.node].count("Relu") == rectifiers
    assert given.model_proto.SerializeToString() == before
    assert to_ir(given)[1] is Kind.PROGRAM
