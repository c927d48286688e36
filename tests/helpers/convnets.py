"""The blocks of well-known convolutional networks, in small random widths."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.helpers.forcing import Network

SAMPLES = 24
ACTIVATIONS = ("Relu", "Relu", "Relu", "Clip", "LeakyRelu", "HardSwish", "PRelu")


def image(g: Network, size: int = 8, rank: int = 2, *, fixed: bool = False) -> tuple[str, int]:
    channels = g.draw.integer(1, 3)
    return g.input("x", SAMPLES, [channels, *[size] * rank], symbolic=not fixed and g.draw.chance(4)), channels


def width_of(g: Network, least: int = 2, most: int = 8) -> int:
    return g.draw.integer(least, most)


def kind_of(g: Network, *kinds: str) -> str:
    kind = g.draw.choice(kinds or ACTIVATIONS)
    return "Relu" if kind == "HardSwish" and g.opset < 14 else kind


def conv(g: Network, x: str, channels: tuple[int, int], kernel: int = 3, *, rank: int = 2, **at: Any) -> str:
    """A convolution that keeps the size, with batch normalisation after it, or a bias; now and then of one tap."""
    dilation = at.pop("dilation", 1)
    at |= {"pads": kernel // 2 * dilation, "dilations": [dilation] * rank, "strides": [at.pop("stride", 1)] * rank}
    is_normed = g.draw.chance(2)
    y = g.conv(x, channels, (kernel,) * rank, bias=not is_normed, **at)
    if kernel > 1 and g.draw.chance(5):
        g.keep_centre(g.nodes[-1].input[1])
    return g.batch_norm(y, channels[1]) if is_normed else y


def head(g: Network, x: str, channels: int) -> str:
    pooled = g.node("Flatten", g.node("GlobalAveragePool", x))
    if g.draw.chance(2):
        hidden = width_of(g, 3, 8)
        pooled, channels = g.rectifier(g.gemm(pooled, (channels, hidden))), hidden
    return g.gemm(pooled, (channels, 4))


def resnet(g: Network, rank: int = 2) -> str:
    """Basic or bottleneck blocks, projections, MaxPool after the stem now and then; sometimes pre-activation."""
    x, channels = image(g, 8 if rank < 3 else 5, rank)
    width, kind = width_of(g), kind_of(g)
    x = g.rectifier(conv(g, x, (channels, width), rank=rank), kind)
    if g.draw.chance(3):
        x = g.node("MaxPool", x, kernel_shape=[2] * rank, strides=[1] * rank)
    block = g.draw.choice((_basic, _bottleneck, _preactivated))
    for _ in range(g.draw.integer(2, 4)):
        after = g.draw.choice((width, width, width_of(g)))
        x, width = block(g, x, (width, after), kind, rank), after
    return head(g, x, width)


def _skip(g: Network, x: str, channels: tuple[int, int], stride: int, rank: int) -> str:
    if stride == 1 and channels[0] == channels[1]:
        return x
    return conv(g, x, channels, 1, rank=rank, stride=stride)


def _basic(g: Network, x: str, channels: tuple[int, int], kind: str, rank: int) -> str:
    stride = g.draw.choice((1, 1, 2))
    y = g.rectifier(conv(g, x, channels, rank=rank, stride=stride), kind)
    y = conv(g, y, (channels[1], channels[1]), rank=rank)
    total = g.node("Add", y, _skip(g, x, channels, stride, rank))
    return g.line(total, channels[1], rank) if g.draw.chance(3) else g.rectifier(total, kind)


def _bottleneck(g: Network, x: str, channels: tuple[int, int], kind: str, rank: int) -> str:
    stride, inside = g.draw.choice((1, 1, 2)), width_of(g, 2, 4)
    y = g.rectifier(conv(g, x, (channels[0], inside), 1, rank=rank), kind)
    y = g.rectifier(conv(g, y, (inside, inside), rank=rank, stride=stride), kind)
    y = conv(g, y, (inside, channels[1]), 1, rank=rank)
    return g.rectifier(g.node("Add", y, _skip(g, x, channels, stride, rank)), kind)


def _preactivated(g: Network, x: str, channels: tuple[int, int], kind: str, rank: int) -> str:
    y = g.rectifier(g.batch_norm(x, channels[0]), kind)
    y = g.rectifier(conv(g, y, channels, rank=rank), kind)
    y = g.conv(y, (channels[1], channels[1]), (3,) * rank, pads=1)
    return g.node("Add", y, _skip(g, x, channels, 1, rank))


def mobilenet(g: Network) -> str:
    """Inverted residuals with linear bottlenecks; squeeze-and-excitation now and then."""
    x, channels = image(g)
    width, kind = width_of(g, 2, 5), kind_of(g, "Clip", "Relu", "HardSwish")
    x = g.rectifier(conv(g, x, (channels, width)), kind)
    for _ in range(g.draw.integer(2, 3)):
        after, inside, stride = g.draw.choice((width, width_of(g, 2, 5))), width * 3, g.draw.choice((1, 1, 2))
        y = g.rectifier(conv(g, x, (width, inside), 1), kind)
        y = g.rectifier(conv(g, y, (inside, inside), group=inside, stride=stride), kind)
        y = _squeeze(g, y, inside) if g.draw.chance(3) else y
        y = conv(g, y, (inside, after), 1)
        x, width = (g.node("Add", y, x) if stride == 1 and after == width else y), after
    return head(g, x, width)


def _squeeze(g: Network, x: str, channels: int) -> str:
    squeezed = g.rectifier(g.conv(g.node("GlobalAveragePool", x), (channels, 3), (1, 1)))
    return g.node("Mul", x, g.rectifier(g.conv(squeezed, (3, channels), (1, 1)), "HardSigmoid"))


def inception(g: Network) -> str:
    """Parallel branches, factorised kernels and a pooled branch, concatenated."""
    x, width = image(g)
    for _ in range(2):
        w = g.draw.integers(4, 2, 4)
        branches = [g.rectifier(conv(g, x, (width, w[0]), 1))]
        y = g.rectifier(conv(g, x, (width, w[1]), 1))
        branches.append(g.rectifier(conv(g, y, (w[1], w[1]))))
        y = g.rectifier(conv(g, x, (width, w[2]), 1))
        y = g.rectifier(g.conv(y, (w[2], w[2]), (1, 3), pads=[0, 1, 0, 1]))
        branches.append(g.rectifier(g.conv(y, (w[2], w[2]), (3, 1), pads=[1, 0, 1, 0])))
        pool = g.draw.choice(("AveragePool", "MaxPool"))
        y = g.node(pool, x, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1])
        branches.append(g.rectifier(conv(g, y, (width, w[3]), 1)))
        x, width = g.node("Concat", *branches, axis=1), sum(w)
    return head(g, x, width)


def densenet(g: Network) -> str:
    """Normalise, rectify, convolve, concatenate; a transition with a pool."""
    x, channels = image(g)
    width, growth = width_of(g, 2, 4), width_of(g, 2, 3)
    x = g.conv(x, (channels, width), (3, 3), pads=1)
    for block in range(2):
        for _ in range(2):
            y = g.conv(g.rectifier(g.batch_norm(x, width)), (width, 2 * growth), (1, 1), bias=False)
            y = g.conv(g.rectifier(g.batch_norm(y, 2 * growth)), (2 * growth, growth), (3, 3), pads=1, bias=False)
            x, width = g.node("Concat", x, y, axis=1), width + growth
        if not block:
            y = g.conv(g.rectifier(g.batch_norm(x, width)), (width, width // 2), (1, 1))
            x, width = g.node("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2]), width // 2
    return head(g, g.rectifier(g.batch_norm(x, width)), width)


def repvgg(g: Network) -> str:
    """A 3x3, a 1x1 and the value itself, each normalised, summed."""
    x, width = image(g)
    for _ in range(g.draw.integer(3, 5)):
        after, stride = g.draw.choice((width, width_of(g))), g.draw.choice((1, 1, 2))
        parts = [g.conv(x, (width, after), (3, 3), bias=False, pads=1, strides=[stride] * 2)]
        parts.append(g.conv(x, (width, after), (1, 1), bias=False, strides=[stride] * 2))
        branches = [g.batch_norm(part, after) for part in parts]
        if stride == 1 and after == width:
            branches.append(g.batch_norm(x, width))
        total = g.node("Add", branches[0], branches[1])
        total = g.node("Add", total, branches[2]) if len(branches) > 2 else total
        x, width = g.rectifier(total), after
    return head(g, x, width)


def unet(g: Network) -> str:
    """Down by MaxPool or strides, up by ConvTranspose or Resize, skips concatenated or added."""
    x, width = image(g)
    skips: list[tuple[str, int]] = []
    for _ in range(2):
        after = width_of(g, 2, 5)
        x = g.rectifier(conv(g, x, (width, after)))
        x, width = g.rectifier(conv(g, x, (after, after))), after
        skips.append((x, width))
        x = g.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.rectifier(conv(g, x, (width, width)))
    for skip, size in reversed(skips):
        x, width = _up(g, x, (width, size)), size
        x = g.rectifier(x) if g.draw.chance(2) else x
        if g.draw.chance(3):
            x = g.node("Add", x, skip)
        else:
            x, width = g.node("Concat", x, skip, axis=1), 2 * size
        x, width = g.rectifier(conv(g, x, (width, size))), size
    return g.conv(x, (width, 2), (1, 1))


def _up(g: Network, x: str, channels: tuple[int, int]) -> str:
    if g.draw.chance(3):
        scales = g.constant(np.array([1, 1, 2, 2], np.float32))
        return conv(g, g.node("Resize", x, "", scales, mode="nearest"), channels)
    weight, bias = g.constant(g.random(*channels, 2, 2)), g.constant(g.random(channels[1]))
    return g.node("ConvTranspose", x, weight, bias, kernel_shape=[2, 2], strides=[2, 2])


def shufflenet(g: Network) -> str:
    """Grouped 1x1 and depthwise convolutions with shuffled channels; or half of the channels passed by."""
    x, channels = image(g, fixed=True)
    groups, inside = g.draw.choice((2, 3)), g.draw.integer(1, 2)
    w = groups * inside * 2
    x = g.rectifier(conv(g, x, (channels, w)))
    for _ in range(g.draw.integer(2, 3)):
        if g.draw.chance(2):
            y = g.rectifier(conv(g, x, (w, w), 1, group=groups))
            y = conv(g, _shuffled(g, y, w, groups), (w, w), group=w)
            x = g.rectifier(g.node("Add", conv(g, y, (w, w), 1, group=groups), x))
            continue
        half = w // 2
        outs = (g.fresh("v"), g.fresh("v"))
        g.node_n("Split", x, g.constant(np.array([half, half])), outs=outs, axis=1)
        y = g.rectifier(conv(g, outs[1], (half, half), 1))
        y = g.rectifier(conv(g, conv(g, y, (half, half), group=half), (half, half), 1))
        x = _shuffled(g, g.node("Concat", outs[0], y, axis=1), w, 2)
    return head(g, x, w)


def _shuffled(g: Network, x: str, channels: int, groups: int) -> str:
    height, width = g.sizes(x)[2:]
    parts = g.constant(np.array([-1, groups, channels // groups, height, width]))
    turned = g.node("Transpose", g.node("Reshape", x, parts), perm=[0, 2, 1, 3, 4])
    return g.node("Reshape", turned, g.constant(np.array([-1, channels, height, width])))


def temporal(g: Network) -> str:
    """One-dimensional: dilated residual blocks, a stride, a gate now and then."""
    x, channels = image(g, 16, 1)
    w, kind = width_of(g), kind_of(g)
    x = g.rectifier(conv(g, x, (channels, w), 5, rank=1), kind)
    for level in range(g.draw.integer(2, 3)):
        y = g.rectifier(conv(g, x, (w, w), rank=1, dilation=2**level), kind)
        if g.draw.chance(3):
            y = g.node("Mul", g.node("Tanh", y), g.node("Sigmoid", conv(g, x, (w, w), 1, rank=1)))
        y = conv(g, y, (w, w), 1, rank=1)
        x = g.rectifier(g.node("Add", y, x), kind)
    return head(g, g.rectifier(conv(g, x, (w, w), rank=1, stride=2), kind), w)


def volumetric(g: Network) -> str:
    """Three-dimensional residual blocks."""
    return resnet(g, 3)


def vgg(g: Network) -> str:
    """A plain stack with pools, flattened into dense layers; Dropout between them."""
    x, w = image(g, fixed=True)
    for _ in range(2):
        for _ in range(g.draw.integer(1, 2)):
            after = width_of(g)
            x, w = g.rectifier(conv(g, x, (w, after)), kind_of(g)), after
        x = g.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x, w = g.node("Flatten", x), w * 4
    for _ in range(g.draw.integer(1, 2)):
        after = width_of(g, 4, 10)
        x, w = g.node("Dropout", g.rectifier(g.gemm(x, (w, after), transB=g.draw.integer(0, 1)))), after
    return g.gemm(x, (w, 4))
