"""Collapse, compare with both oracles, hand back what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from tests.helpers.build import Builder, Dims
from tests.helpers.compare import assert_same, feeds_for
from tests.helpers.exact import Ranges, collapse_exact

SIZES = {"N": 2, "H": 6, "W": 5}
ROUNDING = 1e-5


def builder(opset: int = 17, ir_version: int = 9) -> Builder:
    """With fixed random weights."""
    return Builder(np.random.default_rng(5), opset=opset, ir_version=ir_version)


def unharmed(before: onnx.ModelProto, ranges: Ranges | None = None) -> onnx.ModelProto:
    """`before` collapsed; equal for several random inputs."""
    after = collapse_exact(before, ranges=ranges)
    for seed in range(3):
        feeds = feeds_for(before, np.random.default_rng(seed), SIZES)
        for name, (low, high) in (ranges or {}).items():
            feeds[name] = feeds[name].clip(low, high)
        assert_same(after, before, feeds, ROUNDING)
    return after


def collapsed(g: Builder, inputs: Mapping[str, Dims], outputs: Sequence[str]) -> onnx.ModelProto:
    """The finished model of a builder, collapsed; equal for several random inputs."""
    return unharmed(g.model(inputs, outputs))
