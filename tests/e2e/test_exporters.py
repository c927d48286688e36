"""Models as exporters write them: PyTorch's two, Keras' channels last, CNTK's and Caffe2's old opsets."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import onnx
import pytest

from tests.helpers.build import Array, Builder
from tests.helpers.collapsing import assert_equal, collapse, removed
from tests.helpers.compare import operators
from tests.helpers.unharmed import builder


def images(*shape: int) -> Array:
    return np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)


@pytest.fixture
def exported() -> Any:
    """(exporter) → a small network of PyTorch's; its second rectifier is always on."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
            self.expand, self.act, self.project = nn.Conv2d(8, 16, 1), nn.ReLU(), nn.Conv2d(16, 8, 1)
            self.mlp = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 4))
            nn.init.constant_(self.expand.bias, 9.0)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            x = x + self.project(self.act(self.expand(x)))
            return self.mlp(x.mean((2, 3)))

    def export(dynamo: bool) -> onnx.ModelProto:
        torch.manual_seed(0)
        net = Net().eval()
        x, buffer = torch.rand(2, 3, 8, 8), io.BytesIO()
        names = {"input_names": ["x"], "output_names": ["y"], "opset_version": 18 if dynamo else 17}
        if dynamo:
            program = torch.onnx.export(
                net, (x,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("N")},), verbose=False, **names
            )
            program.save(buffer)
        else:
            torch.onnx.export(net, (x,), buffer, dynamo=False, dynamic_axes={"x": {0: "N"}, "y": {0: "N"}}, **names)
        return onnx.load_from_string(buffer.getvalue())

    return export


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [False, True], ids=["legacy", "dynamo"])
def test_pytorch(dynamo: bool, exported: Any) -> None:
    model = exported(dynamo)
    outcome = collapse(model, data={"x": images(40, 3, 8, 8)})
    after = assert_equal(outcome, model, {"x": images(3, 3, 8, 8)}, 1e-4)
    assert [(row.rectifier.op, row.removed) for row in outcome.inspection.rows] == [
        ("Clip", False),
        ("Relu", True),
        ("Silu", False),
        ("Gelu(erf)", False),
    ]
    assert operators(after)["Conv"] == 1, "the block with its skip goes into the first dense layer"
    assert outcome.after.rectifiers == 3


def channels_last(g: Builder) -> onnx.ModelProto:
    """As tf2onnx writes Keras: transposed before and after every convolution, dense layers as MatMul and Add."""
    x = g.conv(g.node("Transpose", "x", perm=[0, 3, 1, 2]), (3, 8), (3, 3), pads=1, bias=False)
    x = g.node("Transpose", g.batch_norm(x, 8), perm=[0, 2, 3, 1])
    x = g.node("Relu", g.node("Add", x, g.constant(np.full(8, 20, np.float32))))
    x = g.node("Transpose", g.conv(g.node("Transpose", x, perm=[0, 3, 1, 2]), (8, 4), (1, 1)), perm=[0, 2, 3, 1])
    x = g.matmul(g.matmul(x, (4, 16), bias=True), (16, 2), bias=True)
    return g.model({"x": ["N", 8, 8, 3]}, [g.node("ReduceMean", x, axes=[1, 2], keepdims=0)])


def test_keras_channels_last() -> None:
    model = channels_last(builder(13))
    outcome = collapse(model, data={"x": images(40, 8, 8, 3)})
    after = assert_equal(outcome, model, {"x": images(3, 8, 8, 3)}, 1e-4)
    assert len(removed(outcome)) == 1
    assert operators(after)["Conv"] == 1
    assert operators(after).get("MatMul", 0) + operators(after).get("Gemm", 0) <= 1
    assert operators(after).get("Transpose", 0) <= 2


def cntk(g: Builder) -> onnx.ModelProto:
    """Opset 7 and IR 3: automatic padding, biases as Plus, Times as Reshape and MatMul, weights as inputs."""
    x = g.node("Conv", "x", g.constant(g.random(8, 1, 5, 5)), auto_pad="SAME_UPPER", kernel_shape=[5, 5])
    x = g.node("Relu", g.node("Add", x, g.constant(np.full((8, 1, 1), 30, np.float32))))
    x = g.node("Conv", x, g.constant(g.random(16, 8, 1, 1)), auto_pad="SAME_UPPER", kernel_shape=[1, 1])
    x = g.node("Relu", g.node("Add", x, g.constant(g.random(16, 1, 1))))
    x = g.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], auto_pad="NOTSET", pads=[0, 0, 0, 0])
    weight = g.node("Reshape", g.constant(g.random(16, 4, 4, 10)), g.constant(np.array([256, 10])))
    x = g.node("MatMul", g.node("Reshape", x, g.constant(np.array([1, 256]))), weight)
    return g.model({"x": [1, 1, 8, 8]}, [g.node("Add", x, g.constant(g.random(1, 10)))])


def test_cntk() -> None:
    model = cntk(builder(7, ir_version=3))
    outcome = collapse(model, data={"x": images(40, 1, 8, 8)})
    after = assert_equal(outcome, model, {"x": images(1, 1, 8, 8)}, 1e-3)
    assert len(removed(outcome)) == 2
    assert operators(after) == {"Conv": 1, "MaxPool": 1, "Reshape": 1, "Gemm": 1}


def caffe2(g: Builder) -> onnx.ModelProto:
    """Opset 8 and IR 3: BatchNormalization, Sum of branches, Dropout with its mask, Reshape to (0, -1), Gemm."""
    x = g.node("Relu", g.batch_norm(g.conv("data", (3, 8), (3, 3), pads=1, bias=False), 8))
    left = g.batch_norm(g.conv(x, (8, 8), (1, 1), bias=False), 8)
    right = g.batch_norm(g.conv(x, (8, 8), (3, 3), pads=1, bias=False), 8)
    x = g.node("Relu", g.node("Sum", left, right))
    x, _ = g.node_n("Dropout", g.node("AveragePool", x, kernel_shape=[8, 8]), outs=("dropped", "mask"), ratio=0.5)
    x = g.node("Reshape", x, g.constant(np.array([0, -1])))
    x = g.gemm(g.gemm(x, (8, 6), transB=1), (6, 4))
    return g.model({"data": [1, 3, 8, 8]}, [g.node("Softmax", x, axis=1)])


def test_caffe2() -> None:
    model = caffe2(builder(8, ir_version=3))
    outcome = collapse(model)
    after = assert_equal(outcome, model, {"data": images(1, 3, 8, 8)})
    left = {"Conv": 2, "Relu": 2, "AveragePool": 1, "Reshape": 1, "Gemm": 1, "Softmax": 1}
    assert operators(after) == left
