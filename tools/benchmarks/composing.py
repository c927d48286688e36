"""Nets where composing should pay, with random weights: rectifiers that one regime covers, branches, 1x1 chains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from benchmarks.nets import Net
from onnx import TensorProto, helper, numpy_helper

from onnx_nepenthe.graph.load import model_from_proto
from onnx_nepenthe.session import SessionConfig, open_session

Array = npt.NDArray[Any]
SAMPLES = 96
"""Size of the data made with a net: 64 to calibrate, the rest to verify, as the package splits them."""
REFERENCE = SessionConfig(threads=1, optimise=False)


@dataclass(frozen=True, eq=False)
class Made:
    """A net and samples of what it is used on.

    Attributes:
        model: input x.
        samples: (SAMPLES, …), or None for a net in which all that can be done needs no data.
    """

    model: onnx.ModelProto
    samples: Array | None = None


class Grown(Net):
    """A net over any input, which can look at its own values while it grows."""

    def __init__(self, name: str, seed: int, shape: Sequence[int]) -> None:
        super().__init__(name, seed)
        self._shape = tuple(shape)
        self.samples = np.random.default_rng(seed + 1).random((SAMPLES, *shape), dtype=np.float32)

    def model(self, output: str) -> onnx.ModelProto:
        """From input x (N, *shape) to `output`."""
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *self._shape])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            self._weights,
        )
        made = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])
        return onnx.shape_inference.infer_shapes(made)

    def normalised(self, x: str, channels: int) -> str:
        """BatchNormalization whose statistics are those of `x` on the samples."""
        values = self._seen(x)
        axes = (0, *range(2, values.ndim))
        scale = self.constant((0.5 + self._rng.random(channels)).astype(np.float32))
        mean, variance = values.mean(axis=axes), values.var(axis=axes) + np.float32(1e-3)
        return self.node("BatchNormalization", x, scale, self.bias(channels), *map(self.constant, (mean, variance)))

    def within(self, x: str, weight: str, bias: str, ends: tuple[float, float], axis: int = 1) -> None:
        """Scale and shift so that every channel of `x` stays in the middle half of `ends` on the samples.

        Args:
            x: made by `weight` (in, out) or (out, in, kh, kw) and `bias`.
            weight, bias: changed in place.
            ends: between which `x` is to stay.
            axis: that of the channels in `x`.
        """
        values = np.moveaxis(self._seen(x), axis, 0)
        values = values.reshape(len(values), -1)
        middle, reach = (values.max(1) + values.min(1)) / 2, (values.max(1) - values.min(1)) / 2
        scale = ((ends[1] - ends[0]) / 4 / np.maximum(reach, 1e-6)).astype(np.float32)
        old, shift = self._read(weight), self._read(bias)
        self._write(weight, old * (scale if old.ndim == 2 else scale.reshape(-1, *(1,) * (old.ndim - 1))))
        self._write(bias, ((shift - middle) * scale + (ends[0] + ends[1]) / 2).astype(np.float32))

    def _seen(self, value: str) -> Array:
        session = open_session(model_from_proto(self.model(value)), REFERENCE)
        return session.run({"x": self.samples[:16]})[0]

    def _read(self, name: str) -> Array:
        return numpy_helper.to_array(self._weights[int(name[1:])])

    def _write(self, name: str, array: Array) -> None:
        self._weights[int(name[1:])].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))

    def positive(self, x: str, into: int, out: int) -> str:
        """x W + b over the last of three axes, positive on the samples."""
        y = self.linear(x, into, out)
        self.within(y, self._nodes[-2].input[1], self._nodes[-1].input[1], (0.0, 8.0), axis=2)
        return y

    def inside(self, x: str, channels: tuple[int, int], ends: tuple[float, float], **geometry: int) -> str:
        """A convolution whose results stay within `ends` on the samples."""
        y = self.conv(x, channels, **geometry)
        _, weight, bias = self._nodes[-1].input
        self.within(y, weight, bias, ends)
        return y


def linear_mobilenetv2(seed: int) -> Made:
    """Inverted residual blocks whose Clip(0, 6) all stay between 0 and 6; the head after them does not."""
    net = Grown("linear-mobilenetv2", seed, (3, 64, 64))
    low, high = net.constant(np.array(0, np.float32)), net.constant(np.array(6, np.float32))
    x = net.node("Clip", net.conv("x", (3, 16), 3, 2), low, high)
    into = 16
    for out, stride in ((16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (64, 2), (64, 1)):
        wide = 6 * into
        y = net.node("Clip", net.inside(x, (into, wide), (0.0, 6.0), kernel=1), low, high)
        y = net.node("Clip", net.inside(y, (wide, wide), (0.0, 6.0), stride=stride, group=wide), low, high)
        y = net.inside(y, (wide, out), (-2.0, 2.0), kernel=1)
        x = net.node("Add", x, y) if stride == 1 and into == out else y
        into = out
    x = net.node("Clip", net.conv(x, (into, 256), 1), low, high)
    return Made(net.model(_head(net, x, 256, 100)), net.samples)


def repvgg(seed: int) -> Made:
    """RepVGG as it is trained: 3x3 and 1x1 convolutions and the identity, each with its BatchNormalization, added."""
    net = Grown("repvgg-training", seed, (3, 64, 64))
    x, into = "x", 3
    for out, stride in ((32, 2), (32, 1), (48, 2), (48, 1), (48, 1), (96, 2), (96, 1), (96, 1)):
        branches = [net.normalised(net.conv(x, (into, out), kernel, stride), out) for kernel in (3, 1)]
        if into == out and stride == 1:
            branches.append(net.normalised(x, out))
        while len(branches) > 1:
            branches[:2] = [net.node("Add", *branches[:2])]
        x, into = net.node("Relu", branches[0]), out
    return Made(net.model(_head(net, x, into, 100)))


def linear_mlps(seed: int) -> Made:
    """The MLP halves of a transformer, fourfold hidden width; every second Relu is ON for all tokens."""
    width = 192
    net = Grown("transformer-mlps", seed, (64, width))
    x = "x"
    for block in range(6):
        ones, zeros = net.constant(np.ones(width, np.float32)), net.constant(np.zeros(width, np.float32))
        y = net.node("LayerNormalization", x, ones, zeros, axis=-1)
        y = net.positive(y, width, 4 * width) if block % 2 == 0 else net.linear(y, width, 4 * width)
        x = net.node("Add", x, net.linear(net.node("Relu", y), 4 * width, width))
    return Made(net.model(x), net.samples)


def pointwise_chain(seed: int) -> Made:
    """Blocks of a 3x3 and two 1x1 convolutions, each with BatchNormalization, and one Relu at the end."""
    net = Grown("conv-bn-1x1-chain", seed, (3, 64, 64))
    x = net.node("Relu", net.normalised(net.conv("x", (3, 32), 3, 2), 32))
    for _ in range(5):
        y = net.normalised(net.conv(x, (32, 48), 3), 48)
        y = net.normalised(net.conv(y, (48, 48), 1), 48)
        x = net.node("Relu", net.normalised(net.conv(y, (48, 32), 1), 32))
    return Made(net.model(_head(net, x, 32, 100)))


def flatten_head(seed: int) -> Made:
    """A small classifier that ends in an unpadded convolution, Flatten and two Gemm, no rectifier between them."""
    net = Grown("conv-flatten-gemm", seed, (1, 28, 28))
    x = net.node("Relu", net.conv("x", (1, 16), 5, 2))
    x = net.node("Relu", net.conv(x, (16, 32), 3, 2))
    weight = net.weight(32, 32, 3, 3, fan_in=288)
    x = net.node("Flatten", net.node("Conv", x, weight, net.bias(32), pads=[0] * 4))
    x = net.node("Gemm", x, net.weight(128, 800, fan_in=800), net.bias(128), transB=1)
    return Made(net.model(net.node("Gemm", x, net.weight(10, 128, fan_in=128), net.bias(10), transB=1)))


def _head(net: Net, x: str, into: int, classes: int) -> str:
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    return net.node("Gemm", x, net.weight(classes, into, fan_in=into), net.bias(classes), transB=1)


NETS: dict[str, Callable[[int], Made]] = {
    "linear-mobilenetv2": linear_mobilenetv2,
    "repvgg-training": repvgg,
    "transformer-mlps": linear_mlps,
    "conv-bn-1x1-chain": pointwise_chain,
    "conv-flatten-gemm": flatten_head,
}
