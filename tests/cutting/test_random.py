"""Random small networks with channels that are dead by their weights or on the data: the numbers stay."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.build import Builder
from tests.helpers.compare import assert_same, feeds_for, operators
from tests.helpers.cutting import Result, cut
from tests.helpers.reference import reference_values

Draw = st.DataObject
SHAPE = (2, 3, 14, 13)
RECTIFIERS = ("Relu", "Clip(0, 6)", "Clip(1, 3)", "HardSigmoid", "HardSwish", "PRelu", "LeakyRelu", "none")
LARGEST = 12


def entries(g: Builder, value: str) -> int:
    """Of one sample of a value."""
    (info,) = g.model({"x": SHAPE}, [value]).graph.output
    return prod(d.dim_value for d in info.type.tensor_type.shape.dim[1:])


class Network:
    """Draws layer after layer on one or two branches of equal spatial size."""

    def __init__(self, data: Draw) -> None:
        self.data = data
        self.g = Builder(np.random.default_rng(data.draw(st.integers(0, 2**16))))

    def model(self) -> onnx.ModelProto:
        value, channels = self.rectifier(self.layer("x", 3, 5, 3), 5), 5
        for _ in range(self.data.draw(st.integers(1, 4))):
            value, channels = self.block(value, channels)
        return self.g.model({"x": SHAPE}, [self.head(value, channels)])

    def one_of(self, *options: object) -> object:
        return self.data.draw(st.sampled_from(options))

    def layer(self, x: str, inputs: int, outputs: int, kernel: int, groups: int = 1) -> str:
        weight, shift = self.g.random(outputs, inputs // groups, kernel, kernel), self.g.random(outputs)
        for channel in self.data.draw(st.sets(st.integers(0, outputs - 1), max_size=outputs)):
            kind = self.one_of("zero", "off", "sum", "unread")
            if kind == "zero":
                weight[channel], shift[channel] = 0, self.one_of(-1.0, 0.0, 0.7)
            elif kind == "off":
                shift[channel] = -100
            elif kind == "sum":
                weight[channel] -= weight[channel].mean()
            elif groups == 1:
                weight[:, channel % inputs] = 0
        biases = [self.g.constant(shift)] if self.data.draw(st.integers(0, 5)) else []
        pads = [kernel // 2] * 4 if self.data.draw(st.booleans()) or groups > 1 else [0] * 4
        return self.g.node("Conv", x, self.g.constant(weight), *biases, pads=pads, group=groups)

    def rectifier(self, x: str, channels: int) -> str:
        kind = str(self.one_of(*RECTIFIERS))
        if kind == "none":
            return x
        if kind == "PRelu":
            slopes = self.g.random(channels, 1, 1)
            slopes[:: int(self.data.draw(st.integers(1, 3)))] = 0
            return self.g.node("PRelu", x, self.g.constant(slopes))
        if kind.startswith("Clip"):
            low, high = (0.0, 6.0) if kind == "Clip(0, 6)" else (1.0, 3.0)
            return self.g.node("Clip", x, self.g.constant(low), self.g.constant(high))
        return self.g.node(kind, x)

    def block(self, x: str, channels: int) -> tuple[str, int]:
        """Any of the shapes that channels pass on the way from layer to layer."""
        g = self.g
        match self.one_of("layer", "layer", "depthwise", "residual", "concat", "pool", "norm"):
            case "layer":
                outputs, kernel = self.data.draw(st.integers(1, 6)), 1 + 2 * self.data.draw(st.integers(0, 1))
                return self.rectifier(self.layer(x, channels, outputs, kernel), outputs), outputs
            case "depthwise":
                return self.rectifier(self.layer(x, channels, channels, 3, channels), channels), channels
            case "residual":
                y = g.node("Relu", self.layer(x, channels, channels, 1))
                return self.rectifier(g.node("Add", x, self.layer(y, channels, channels, 1)), channels), channels
            case "concat" if channels <= LARGEST // 2:
                y = g.node("Relu", self.layer(x, channels, channels, 1))
                return g.node("Concat", y, x, axis=1), 2 * channels
            case "pool":
                at = {"pads": [1, 1, 1, 1], "strides": [1, 1]} if self.data.draw(st.booleans()) else {}
                kind = str(self.one_of("MaxPool", "AveragePool"))
                if kind == "AveragePool":
                    at["count_include_pad"] = self.data.draw(st.integers(0, 1))
                return g.node(kind, x, kernel_shape=[2, 2], **at), channels
            case _:
                return g.batch_norm(x, channels), channels

    def head(self, x: str, channels: int) -> str:
        g = self.g
        match self.one_of("conv", "flatten", "mean", "matmul"):
            case "conv":
                return self.layer(x, channels, 2, 3)
            case "flatten":
                y = self.layer(x, channels, channels, 1)
                size = entries(g, y)
                return g.gemm(g.node("Flatten", y), (size, 2), transB=self.data.draw(st.integers(0, 1)))
            case "matmul":
                return g.matmul(g.node("Transpose", x, perm=[0, 2, 3, 1]), (channels, 2))
            case _:
                return g.gemm(g.node("Flatten", g.node("GlobalAveragePool", x)), (channels, 2))


def flat_channels(found: Result) -> dict[str, set[int]]:
    """Channels that rectifiers hold in a piece of slope 0, unless they hold all there are."""
    flat: dict[str, set[int]] = {}
    for entry in (*found.linearised.undecided.values(), *found.linearised.decisions.values()):
        activation, pieces = entry.rectifier.activation, entry.pieces
        slopes = [
            activation.line(int(piece), len(pieces))[0][at] if piece >= 0 else 1 for at, piece in enumerate(pieces)
        ]
        channels = {at for at, slope in enumerate(slopes) if slope == 0}
        if len(channels) < len(pieces):
            flat[entry.rectifier.key] = channels
    return flat


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_numbers_stay_and_whatever_stays_is_explained(data: Draw) -> None:
    net = Network(data)
    model = net.model()
    feeds = feeds_for(model, np.random.default_rng(1), {})
    values = reference_values(model, feeds)
    numbers = [v for v in values.values() if isinstance(v, np.ndarray) and v.dtype == np.float32]
    tolerance = 2e-5 * max(1.0, *(float(np.abs(v).max()) for v in numbers))
    found = cut(model, [values] if data.draw(st.booleans()) else [])
    after = found.model()
    assert operators(after) == operators(model)
    assert_same(after, model, feeds, tolerance)
    for one in found.plan.cuts:
        assert_same(found.model([one]), model, feeds, tolerance)
    assert all(refusal.refusal.reason and refusal.channels > 0 for refusal in found.plan.refusals)
    gone = {entry.value: set(entry.positions) for one in found.plan.cuts for entry in one.removed}
    stays = {key: channels - gone.get(key, set()) for key, channels in flat_channels(found).items()}
    assert found.plan.refusals or not any(stays.values())
