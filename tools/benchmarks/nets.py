"""Nets of well-known sizes with random weights, made of ONNX nodes alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
IMAGE = (3, 224, 224)
Array = npt.NDArray[np.float32]


class Net:
    """Grows a graph node by node; weights come from `seed`."""

    def __init__(self, name: str, seed: int) -> None:
        self._name = name
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def constant(self, array: npt.NDArray[np.generic]) -> str:
        """The name of a new initializer."""
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op_type: str, *inputs: str, **attributes: object) -> str:
        """The name of the new node's output."""
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(op_type, list(inputs), [name], name=f"{op_type}_{name}", **attributes))
        return name

    def weight(self, *shape: int, fan_in: int, gain: float = 2.0) -> str:
        """Normal weights of variance gain / fan_in."""
        values = self._rng.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(gain / fan_in))
        return self.constant(values)

    def bias(self, size: int) -> str:
        """Small normal numbers."""
        return self.weight(size, fan_in=100, gain=1.0)

    def conv(self, x: str, channels: tuple[int, int], kernel: int = 3, stride: int = 1, group: int = 1) -> str:
        """A convolution with bias that keeps the size up to its stride; channels are (in, out)."""
        into, out = channels
        weight = self.weight(out, into // group, kernel, kernel, fan_in=into // group * kernel**2)
        return self.node(
            "Conv", x, weight, self.bias(out), group=group, strides=[stride] * 2, pads=[(kernel - 1) // 2] * 4
        )

    def linear(self, x: str, into: int, out: int) -> str:
        """x W + b over the last axis."""
        return self.node("Add", self.node("MatMul", x, self.weight(into, out, fan_in=into, gain=1.0)), self.bias(out))

    def model(self, output: str) -> onnx.ModelProto:
        """From input x (N, 3, 224, 224) to `output`."""
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *IMAGE])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            self._weights,
        )
        made = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", OPSET)])
        return onnx.shape_inference.infer_shapes(made)


def resnet18(seed: int) -> onnx.ModelProto:
    """17 Relu, 11.7 million weights."""
    net = Net("resnet18", seed)
    x = net.node("Relu", net.conv("x", (3, 64), 7, 2))
    x = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    into = 64
    for out, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        skip = x if stride == 1 else net.conv(x, (into, out), 1, stride)
        y = net.conv(net.node("Relu", net.conv(x, (into, out), 3, stride)), (out, out))
        x = net.node("Relu", net.node("Add", y, skip))
        into = out
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    return net.model(net.node("Gemm", x, net.weight(1000, 512, fan_in=512), net.bias(1000), transB=1))


def mobilenetv2(seed: int) -> onnx.ModelProto:
    """35 Clip(0, 6), 3.4 million weights."""
    net = Net("mobilenetv2", seed)
    low, high = net.constant(np.float32(0)), net.constant(np.float32(6))  # type: ignore[arg-type]
    x = net.node("Clip", net.conv("x", (3, 32), 3, 2), low, high)
    into = 32
    for factor, out, count, first in _INVERTED:
        for at in range(count):
            stride, wide = first if at == 0 else 1, into * factor
            y = x if factor == 1 else net.node("Clip", net.conv(x, (into, wide), 1), low, high)
            y = net.node("Clip", net.conv(y, (wide, wide), 3, stride, wide), low, high)
            y = net.conv(y, (wide, out), 1)
            x = net.node("Add", x, y) if stride == 1 and into == out else y
            into = out
    x = net.node("Clip", net.conv(x, (into, 1280), 1), low, high)
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    return net.model(net.node("Gemm", x, net.weight(1000, 1280, fan_in=1280), net.bias(1000), transB=1))


_INVERTED = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks, first stride: MobileNetV2 (arXiv 1801.04381), table 2."""


def vit_small(seed: int) -> onnx.ModelProto:
    """Patches of 16, width 384, 12 blocks of attention and a GELU MLP: 22 million weights."""
    net, width, heads = Net("vit_small", seed), 384, 6
    x = net.node("Conv", "x", net.weight(width, 3, 16, 16, fan_in=768, gain=1.0), strides=[16, 16])
    x = net.node("Reshape", x, net.constant(np.array([0, width, 196])))
    x = net.node("Transpose", x, perm=[0, 2, 1])
    for _ in range(12):
        x = net.node("Add", x, _attention(net, _normalised(net, x, width), width, heads))
        y = net.node("Gelu", net.linear(_normalised(net, x, width), width, 4 * width))
        x = net.node("Add", x, net.linear(y, 4 * width, width))
    x = net.node("ReduceMean", _normalised(net, x, width), net.constant(np.array([1])), keepdims=0)
    return net.model(net.linear(x, width, 1000))


def _normalised(net: Net, x: str, width: int) -> str:
    ones, zeros = net.constant(np.ones(width, np.float32)), net.constant(np.zeros(width, np.float32))
    return net.node("LayerNormalization", x, ones, zeros, axis=-1)


def _attention(net: Net, x: str, width: int, heads: int) -> str:
    shape = net.constant(np.array([0, 196, heads, width // heads]))
    query, key, value = (net.node("Reshape", net.linear(x, width, width), shape) for _ in range(3))
    query, value = (net.node("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, value))
    scores = net.node("MatMul", query, net.node("Transpose", key, perm=[0, 2, 3, 1]))
    scale = net.constant(np.float32((width // heads) ** -0.5))  # type: ignore[arg-type]
    shares = net.node("Softmax", net.node("Mul", scores, scale), axis=-1)
    mixed = net.node("Transpose", net.node("MatMul", shares, value), perm=[0, 2, 1, 3])
    return net.linear(net.node("Reshape", mixed, net.constant(np.array([0, 196, width]))), width, width)


NETS: dict[str, Callable[[int], onnx.ModelProto]] = {
    "resnet18": resnet18,
    "mobilenetv2": mobilenetv2,
    "vit_small": vit_small,
}
