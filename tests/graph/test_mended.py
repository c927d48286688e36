"""Mended operators against onnxruntime, which computes them as the standard says."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnx_nepenthe.graph.reference import run_reference
from tests.helpers.build import Builder
from tests.helpers.compare import run_runtime


@pytest.mark.parametrize("opset", [7, 9, 13, 14, 15, 17])
def test_batch_normalization_uses_the_stored_statistics(opset: int) -> None:
    g = Builder(np.random.default_rng(0), opset=opset)
    model = g.model({"x": [2, 3, 4, 4]}, [g.batch_norm("x", 3, epsilon=0.01)])
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 3, 4, 4)).astype(np.float32) + 3}
    np.testing.assert_allclose(run_reference(ir.from_proto(model), feeds)[0], run_runtime(model, feeds)[0], atol=1e-5)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("group", [1, 2])
def test_transposed_convolution_of_groups(group: int, biased: bool) -> None:
    g = Builder(np.random.default_rng(0))
    inputs = [g.constant(g.random(4, 6 // group, 3, 3)), *([g.constant(g.random(6))] if biased else [])]
    model = g.model({"x": [2, 4, 5, 5]}, [g.node("ConvTranspose", "x", *inputs, group=group, strides=[2, 1])])
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 4, 5, 5)).astype(np.float32)}
    np.testing.assert_allclose(run_reference(ir.from_proto(model), feeds)[0], run_runtime(model, feeds)[0], atol=1e-5)


def test_training_is_left_as_it_was() -> None:
    g = Builder(np.random.default_rng(0), opset=15)
    numbers = [g.constant(np.ones(2, np.float32)) for _ in range(4)]
    y, *_ = g.node_n("BatchNormalization", "x", *numbers, outs=("y", "mean", "variance"), training_mode=1)
    model = g.model({"x": [8, 2]}, [y])
    (result,) = run_reference(ir.from_proto(model), {"x": np.arange(16, dtype=np.float32).reshape(8, 2)})
    np.testing.assert_allclose(result.mean(axis=0), 1, atol=1e-5)


CONVOLUTIONS = {
    "SAME_UPPER": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "SAME_LOWER": {"auto_pad": "SAME_LOWER", "strides": [2, 1]},
    "VALID": {"auto_pad": "VALID", "strides": [2, 1]},
    "pads": {"pads": [1, 0, 0, 2], "dilations": [2, 1]},
    "groups": {"auto_pad": "SAME_UPPER", "group": 2},
}


@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name: str, batch: int) -> None:
    g = Builder(np.random.default_rng(0))
    at = CONVOLUTIONS[name]
    weight = g.constant(g.random(6, 4 // int(str(at.get("group", 1))), 3, 2))
    model = g.model({"x": ["N", 4, 7, 6]}, [g.node("Conv", "x", weight, g.constant(g.random(6)), **at)])
    feeds = {"x": np.random.default_rng(1).standard_normal((batch, 4, 7, 6)).astype(np.float32)}
    got, want = run_reference(ir.from_proto(model), feeds)[0], run_runtime(model, feeds)[0]
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-5)


POOLS = {
    "VALID": (19, {"auto_pad": "VALID", "dilations": [1, 2], "strides": [2, 1]}),
    "VALID, old": (11, {"auto_pad": "VALID", "strides": [2, 1]}),
    "pads": (19, {"pads": [1, 0, 0, 1], "dilations": [2, 1]}),
    "no attributes": (7, {}),
}


@pytest.mark.parametrize("name", POOLS)
def test_average_pools(name: str) -> None:
    opset, at = POOLS[name]
    g = Builder(np.random.default_rng(0), opset=opset)
    model = g.model({"x": [2, 3, 7, 6]}, [g.node("AveragePool", "x", kernel_shape=[2, 3], **at)])
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 3, 7, 6)).astype(np.float32)}
    got, want = run_reference(ir.from_proto(model), feeds)[0], run_runtime(model, feeds)[0]
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-5)
