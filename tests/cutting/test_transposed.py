"""Transposed convolutions lose channels on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.outcome import Outcome
from tests.helpers.build import Array, Builder
from tests.helpers.collapsing import collapse
from tests.helpers.compare import assert_close, run_runtime
from tests.helpers.unharmed import builder

KINDS: dict[str, dict[str, Any]] = {
    "stride": {"strides": [2, 2]},
    "stride beyond the kernel": {"strides": [4, 3]},
    "pads": {"strides": [2, 2], "pads": [1, 0, 0, 1]},
    "output padding": {"strides": [2, 2], "output_padding": [1, 1]},
    "output shape": {"strides": [2, 2], "output_shape": [12, 10]},
    "automatic": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "dilation": {"strides": [2, 1], "dilations": [2, 1]},
}


def net(g: Builder, into: Array, after: Array, *, low: float = 0.0, **attributes: Any) -> onnx.ModelProto:
    """Rectifiers before and after, made lines by the biases `into` and `after`; `low` is the least value before."""
    x = g.node("Conv", "x", g.constant(g.random(4, 2, 1, 1)), g.constant(into.astype(np.float32)))
    x = g.node("Clip", g.node("MaxPool", x, kernel_shape=[1, 1]), g.constant(low), g.constant(1000.0))
    weight = g.constant(g.random(len(into), 3, 3, 3))
    y = g.node("ConvTranspose", x, weight, g.constant(after.astype(np.float32)), **attributes)
    y = g.node("MaxPool", g.node("Relu", y), kernel_shape=[2, 2])
    return g.model({"x": ["N", 2, 6, 5]}, [g.conv(y, (3 * attributes.get("group", 1), 2), (1, 1))])


def unharmed(model: onnx.ModelProto) -> tuple[Outcome, tuple[int, ...]]:
    """The outcome, whose numbers are right, and the shape of the weights of its transposed convolution; () for none.

    By onnxruntime alone: onnx.reference has no output shape.
    """
    data = {"x": np.random.default_rng(0).uniform(-1, 1, (24, 2, 6, 5)).astype(np.float32)}
    outcome = collapse(model, data=data, prove_budget_s=0.0)
    after = model if outcome.model is None else ir.to_proto(outcome.model)
    assert_close(run_runtime(after, data), run_runtime(model, data), 1e-3)
    weights = {node.input[1] for node in after.graph.node if node.op_type == "ConvTranspose"}
    shapes = [tuple(tensor.dims) for tensor in after.graph.initializer if tensor.name in weights]
    return outcome, shapes[0] if shapes else ()


@pytest.mark.parametrize("kind", KINDS)
def test_off_channels_go(kind: str) -> None:
    model = net(builder(), np.array([9, -9, 9, -9]), np.array([90, -90, 90]), **KINDS[kind])
    _, shape = unharmed(model)
    assert shape == (2, 2, 3, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_constants_are_carried_by_one_of_them(kind: str) -> None:
    """How many weights reach a position depends on where it is, so no bias can stand for a constant."""
    _, shape = unharmed(net(builder(), np.array([9, -9, -9, -9]), np.array([90, -90, 90]), low=0.5, **KINDS[kind]))
    assert shape[0] == 2


def test_without_a_stride_it_becomes_a_convolution() -> None:
    _, shape = unharmed(net(builder(), np.array([9, -9, -9, -9]), np.array([90, -90, 90]), low=0.5))
    assert shape == ()


def test_groups_are_left_alone() -> None:
    outcome, shape = unharmed(
        net(builder(), np.array([9, -9, 9, -9]), np.array([90, -90] * 3), group=2, strides=[2, 2])
    )
    assert shape == (4, 3, 3, 3)
    assert any("grouped" in refusal.reason for refusal in outcome.refusals if refusal.stage == "channels")
