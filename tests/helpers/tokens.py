"""Networks over tokens: attention, and mixing by transposes."""

from __future__ import annotations

import numpy as np

from tests.helpers.convnets import SAMPLES, image, kind_of, width_of
from tests.helpers.forcing import Network

MLP_KINDS = ("Relu", "Relu", "Gelu", "HardSwish", "LeakyRelu", "Silu")


def vit(g: Network) -> str:
    """Patches, positions, attention and two dense layers in each block, the mean of the tokens."""
    size = g.draw.choice((4, 6))
    x = _patches(g, size)
    for _ in range(g.draw.integer(1, 2)):
        x = g.node("Add", _attention(g, _norm(g, x, size), size), x)
        x = g.node("Add", _mlp(g, _norm(g, x, size), size, kind_of(g, *MLP_KINDS)), x)
    return g.matmul(_mean(g, _norm(g, x, size)), (size, 4), bias=True)


def mixer(g: Network) -> str:
    """Dense layers over tokens and over channels in turn."""
    size = g.draw.choice((4, 6))
    x, tokens = _patches(g, size), 4
    for _ in range(g.draw.integer(1, 2)):
        kind = kind_of(g, *MLP_KINDS)
        turned = g.node("Transpose", _norm(g, x, size), perm=[0, 2, 1])
        x = g.node("Add", g.node("Transpose", _mlp(g, turned, tokens, kind), perm=[0, 2, 1]), x)
        x = g.node("Add", _mlp(g, _norm(g, x, size), size, kind), x)
    return g.matmul(_mean(g, _norm(g, x, size)), (size, 4), bias=True)


def _patches(g: Network, size: int) -> str:
    """(samples, 4 tokens, size)."""
    if g.draw.chance(4):
        return g.matmul(g.input("x", SAMPLES, [4, 5]), (5, size), bias=True)
    x, channels = image(g, fixed=True)
    x = g.conv(x, (channels, size), (4, 4), strides=[4, 4])
    x = g.node("Transpose", g.node("Reshape", x, g.constant(np.array([0, size, -1]))), perm=[0, 2, 1])
    return g.node("Add", x, g.constant(g.random(1, 4, size)))


def _norm(g: Network, x: str, size: int) -> str:
    scale, shift = g.constant(g.positive(size)), g.constant(g.random(size))
    if g.opset >= 17 and g.draw.chance(2):
        return g.node("LayerNormalization", x, scale, shift, axis=-1)
    centred = g.node("Sub", x, _reduced(g, x))
    variance = _reduced(g, g.node("Mul", centred, centred))
    root = g.node("Sqrt", g.node("Add", variance, g.constant(1e-5)))
    return g.node("Add", g.node("Mul", g.node("Div", centred, root), scale), shift)


def _reduced(g: Network, x: str) -> str:
    if g.opset < 18:
        return g.node("ReduceMean", x, axes=[-1], keepdims=1)
    return g.node("ReduceMean", x, g.constant(np.array([-1])), keepdims=1)


def _attention(g: Network, x: str, size: int) -> str:
    """Two heads."""
    parts = g.constant(np.array([0, 0, 2, size // 2]))
    query, key, value = (
        g.node("Transpose", g.node("Reshape", g.matmul(x, (size, size), bias=True), parts), perm=[0, 2, *order])
        for order in ((1, 3), (3, 1), (1, 3))
    )
    scores = g.node("Mul", g.node("MatMul", query, key), g.constant(float(np.sqrt(2 / size))))
    mixed = g.node("MatMul", g.node("Softmax", scores, axis=-1), value)
    joined = g.node("Reshape", g.node("Transpose", mixed, perm=[0, 2, 1, 3]), g.constant(np.array([0, 0, size])))
    return g.matmul(joined, (size, size), bias=True)


def _mlp(g: Network, x: str, size: int, kind: str) -> str:
    hidden = width_of(g, size, 2 * size)
    y = g.rectifier(g.matmul(x, (size, hidden), bias=True), kind, axis=2)
    return g.matmul(y, (hidden, size), bias=True)


def _mean(g: Network, x: str) -> str:
    if g.opset < 18:
        return g.node("ReduceMean", x, axes=[1], keepdims=0)
    return g.node("ReduceMean", x, g.constant(np.array([1])), keepdims=0)
