"""What random graphs found, drawn by hand: seeds would lose their meaning with the next operator that is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.build import Builder
from tests.helpers.compare import operators
from tests.helpers.unharmed import builder, unharmed


def double() -> Builder:
    return Builder(np.random.default_rng(5), dtype="double")


def test_no_convolution_in_double_where_there_was_none() -> None:
    """onnxruntime has no kernel for it: a model that ran would not run any more."""
    g = double()
    last = g.node("Transpose", "x", perm=[0, 2, 3, 1])
    mixed = g.matmul(g.matmul(last, (4, 6), bias=True), (6, 3), bias=True)
    before = g.model({"x": ["N", 4, "H", "W"]}, [g.node("Transpose", mixed, perm=[0, 3, 1, 2])])
    left = operators(unharmed(before))
    assert "Conv" not in left
    assert left["MatMul"] == 1


def test_no_pool_in_double_where_there_was_none() -> None:
    g = double()
    mean = g.node("ReduceMean", g.batch_norm("x", 4), axes=[2, 3], keepdims=0)
    left = operators(unharmed(g.model({"x": ["N", 4, "H", "W"]}, [g.gemm(mean, (4, 3))])))
    assert "GlobalAveragePool" not in left


@pytest.mark.parametrize(("opset", "ir_version"), [(7, 3), (8, 3), (9, 3), (7, 8)])
def test_constants_of_integers_in_old_opsets(opset: int, ir_version: int) -> None:
    """Constant held floats only before opset 9; initializers had to be inputs before IR 4."""
    g = builder(opset, ir_version)
    flat = g.node("Flatten", g.node("Neg", g.node("Neg", "x")), axis=2)
    unharmed(g.model({"x": [2, 4, 6, 5]}, [g.node("Sigmoid", flat)]))


@pytest.mark.parametrize("opset", [7, 8, 9])
def test_a_border_of_open_size_in_old_opsets(opset: int) -> None:
    """ConstantOfShape came with opset 9."""
    g = builder(opset)
    y = g.conv(g.conv("x", (4, 6), (1, 1)), (6, 5), (3, 3), pads=1)
    left = operators(unharmed(g.model({"x": ["N", 4, "H", "W"]}, [y])))
    assert ("ConstantOfShape" in left) == (opset >= 9)


def test_axes_of_size_1_that_are_dropped_are_not_moved() -> None:
    g = builder()
    squeezed = g.node("Squeeze", "x", g.constant(np.array([1])))
    before = g.model({"x": ["N", 1, 6, 5]}, [g.node("Reshape", squeezed, g.constant(np.array([0, 30])))])
    assert operators(unharmed(before)) == {"Reshape": 1}


def test_a_sum_that_is_always_zero_is_not_kept() -> None:
    g = builder()
    y = g.node("Add", g.node("Sigmoid", "x"), g.node("Relu", g.node("Neg", g.node("Sigmoid", "z"))))
    before = g.model({"x": [2, 4], "z": [2, 4]}, [y])
    assert operators(unharmed(before)) == {"Sigmoid": 1}


def test_a_value_without_axes() -> None:
    """Reshape to no sizes at all is still a Reshape."""
    g = builder()
    once = g.node("Squeeze", g.node("Neg", "x"), g.constant(np.array([0])))
    y = g.node("Neg", g.node("Squeeze", once, g.constant(np.array([0]))))
    assert operators(unharmed(g.model({"x": [1, 1]}, [y]))) == {"Reshape": 1}
