"""A small residual network with data, and the workshop of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnx_nepenthe.budget import open_shop
from onnx_nepenthe.inspection import find
from onnx_nepenthe.options import Options
from onnx_nepenthe.substitutes import Substitute
from onnx_nepenthe.workshop import Workshop
from tests.helpers.build import Builder

CHANNELS, CLASSES, SIZE, SAMPLES = 8, 4, 6, 200


def residual_network(
    blocks: int = 3, seed: int = 0, *, normed: bool = False, channels: int = CHANNELS
) -> onnx.ModelProto:
    """A stem, basic blocks, a head; values are called stem, sum0, block0, sum1, block1 …"""
    b = Builder(np.random.default_rng(seed))
    value = b.node("Relu", b.conv("x", (3, channels), (3, 3), pads=1), out="stem")
    for block in range(blocks):
        inside = b.node("Relu", b.conv(value, (channels, channels), (3, 3), pads=1), out=f"inside{block}")
        branch = b.conv(inside, (channels, channels), (3, 3), pads=1, bias=not normed)
        branch = b.batch_norm(branch, channels) if normed else branch
        value = b.node("Relu", b.node("Add", branch, value, out=f"sum{block}"), out=f"block{block}")
    pooled = b.node("Flatten", b.node("GlobalAveragePool", value))
    return b.model({"x": ("N", 3, SIZE, SIZE)}, [b.gemm(pooled, (channels, CLASSES))])


def data(samples: int = SAMPLES, seed: int = 1) -> dict[str, Any]:
    """Images that are smooth, so that neighbours say something of each other, without labels."""
    noise = np.random.default_rng(seed).standard_normal((samples, 3, SIZE + 2, SIZE + 2))
    return {"x": sum(noise[:, :, i : i + SIZE, j : j + SIZE] for i in range(3) for j in range(3)).astype(np.float32)}


def shop_of(model: onnx.ModelProto, **given: Any) -> Workshop:
    """The workshop of a model on `data`; timing is not needed for it."""
    options = Options(**({"data": data(), "latency": "off", "prove_budget_s": 0.0, "metric": "error"} | given))
    return open_shop(find(ir.from_proto(model), options), options)


def substitute(shop: Workshop, source: str, target: str, kind: str) -> Substitute:
    """The one between two values."""
    return next(one for one in shop.substitutes if (one.source, one.target, one.kind) == (source, target, kind))
