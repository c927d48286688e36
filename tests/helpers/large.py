"""Models whose weights are larger than protobuf can hold, written chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

OPSET = 17
ALIGNMENT_BYTES = 4096
WIDTH = 4096
"""Features of the perceptron: a weight of 64 MiB each."""
NARROW = 64
CHANNELS = 1024
"""Of the convolutions: a weight of 36 MiB each."""
EVERY = 4
"""One in so many blocks is followed by something that can collapse."""


class Writer:
    """A graph whose weights go to a file as they are made."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.data = path.with_name(path.name + ".data")
        self.written_bytes = 0
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self.data.write_bytes(b"")

    def weight(self, *shape: int, gain: float = 2.0) -> str:
        """Normal numbers of variance gain / fan-in; only this one is ever in memory."""
        fan_in = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
        values = self._rng.standard_normal(shape, dtype=np.float32)
        values *= np.float32(np.sqrt(gain / max(fan_in, 1)))
        with self.data.open("ab") as file:
            file.write(b"\0" * (-file.tell() % ALIGNMENT_BYTES))
            start = file.tell()
            values.tofile(file)
        self.written_bytes += values.nbytes
        tensor = TensorProto(name=f"w{len(self._weights)}", data_type=TensorProto.FLOAT, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self.data.name), ("offset", start), ("length", values.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        self._weights.append(tensor)
        return tensor.name

    def node(self, op: str, *inputs: str, **attributes: object) -> str:
        """The name of a new node's output."""
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], name=f"n{len(self._nodes)}", **attributes))
        return name

    def finish(self, value: str, shape: list[int | str]) -> None:
        """Write the model; input `x` and output have the same shape."""
        ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", value)]
        graph = helper.make_graph(self._nodes, "large", ports[:1], ports[1:], self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        self.path.write_bytes(model.SerializeToString())


def perceptron(path: Path, weight_bytes: int, seed: int = 0, width: int = WIDTH) -> None:
    """Gemm and Relu, over and over; every few blocks a bottleneck that begins with two Gemms that could be one."""
    net, value = Writer(path, seed), "x"
    for block in count(1):
        value = net.node("Relu", net.node("Gemm", value, net.weight(width, width), net.weight(width, gain=0.0)))
        if net.written_bytes >= weight_bytes:
            break
        if block % EVERY == 0:
            value = net.node("Gemm", value, net.weight(width, NARROW), net.weight(NARROW, gain=0.0))
            value = net.node("Relu", net.node("Gemm", value, net.weight(NARROW, NARROW)))
            value = net.node("Relu", net.node("Gemm", value, net.weight(NARROW, width), net.weight(width, gain=0.0)))
    net.finish(value, ["N", width])


def convolutions(path: Path, weight_bytes: int, seed: int = 0, channels: int = CHANNELS) -> None:
    """Conv 3x3 and Relu, over and over; every few blocks a bottleneck of 1x1, with a Relu that follows a Sigmoid."""
    net, value = Writer(path, seed), "x"
    for block in count(1):
        value = net.node(
            "Conv", value, net.weight(channels, channels, 3, 3), net.weight(channels, gain=0.0), pads=[1] * 4
        )
        value = net.node("Relu", value)
        if net.written_bytes >= weight_bytes:
            break
        if block % EVERY == 0:
            value = net.node("Conv", value, net.weight(NARROW, channels, 1, 1), net.weight(NARROW, gain=0.0))
            value = net.node("Relu", net.node("Sigmoid", value))
            value = net.node("Conv", value, net.weight(NARROW, NARROW, 1, 1), net.weight(NARROW, gain=0.0))
            value = net.node("Relu", value)
            value = net.node("Conv", value, net.weight(channels, NARROW, 1, 1), net.weight(channels, gain=0.0))
            value = net.node("Relu", value)
    net.finish(value, ["N", channels, 8, 8])


KINDS: dict[str, Callable[..., None]] = {"perceptron": perceptron, "convolutions": convolutions}
