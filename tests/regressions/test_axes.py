"""A constant of the right length on the wrong axis is no constant per channel."""

from __future__ import annotations

import pytest

from onnx_nepenthe.affine.forms import Form
from tests.helpers.compare import operators
from tests.helpers.exact import stages
from tests.helpers.unharmed import builder, collapsed

OPERATORS = ["Add", "Sub", "Mul", "Div"]


@pytest.mark.parametrize("op_type", OPERATORS)
@pytest.mark.parametrize("shape", [(5,), (1, 5), (5, 1), (1, 1, 5), (1, 5, 1), (1, 1, 1, 5), (1, 1, 5, 1)], ids=str)
def test_along_width_or_height_of_a_convolution(op_type: str, shape: tuple[int, ...]) -> None:
    g = builder()
    y = g.node(op_type, g.conv("x", (4, 5), (1, 1)), g.constant(g.positive(*shape)))
    assert operators(collapsed(g, {"x": [2, 4, 5, 5]}, [y])) == {"Conv": 1, op_type: 1}


@pytest.mark.parametrize("op_type", OPERATORS)
@pytest.mark.parametrize("shape", [(5, 1, 1), (1, 5, 1, 1)], ids=str)
def test_along_the_channels_of_a_convolution(op_type: str, shape: tuple[int, ...]) -> None:
    g = builder()
    y = g.node(op_type, g.conv("x", (4, 5), (1, 1)), g.constant(g.positive(*shape)))
    assert operators(collapsed(g, {"x": [2, 4, 5, 5]}, [y])) == {"Conv": 1}


@pytest.mark.parametrize("op_type", OPERATORS)
def test_along_an_axis_of_unknown_size(op_type: str) -> None:
    """W might be 1: then the constant would enlarge the value."""
    g = builder()
    y = g.node(op_type, g.conv("x", (4, 5), (1, 1)), g.constant(g.positive(5)))
    assert operators(collapsed(g, {"x": ["N", 4, "H", "W"]}, [y])) == {"Conv": 1, op_type: 1}


@pytest.mark.parametrize("op_type", OPERATORS)
def test_per_sample_of_a_matrix_product(op_type: str) -> None:
    g = builder()
    y = g.node(op_type, g.gemm("x", (4, 3)), g.constant(g.positive(3, 1)))
    assert operators(collapsed(g, {"x": [3, 4]}, [y])) == {"Gemm": 1, op_type: 1}


def test_batch_normalisation_of_features_that_are_not_last() -> None:
    """On (N, T, F) it normalises axis 1, whatever its length."""
    g = builder()
    y = g.batch_norm(g.matmul("x", (4, 6)), 6)
    assert operators(collapsed(g, {"x": ["N", 6, 4]}, [y])) == {"MatMul": 1, "BatchNormalization": 1}


def test_slopes_along_the_width() -> None:
    g = builder()
    y = g.node("PRelu", g.node("Sigmoid", g.conv("x", (4, 5), (1, 1))), g.constant(g.positive(5)))
    assert operators(collapsed(g, {"x": [2, 4, 5, 5]}, [y])) == {"Conv": 1, "Sigmoid": 1}


def test_a_constant_that_enlarges_is_not_a_map() -> None:
    g = builder()
    y = g.node("Mul", g.conv("x", (4, 1), (1, 1)), g.constant(g.positive(5, 1, 1)))
    model = g.model({"x": [2, 4, 5, 5]}, [y])
    assert not isinstance(stages(model).atlas.form("x", y), Form)
    assert operators(collapsed(g, {"x": [2, 4, 5, 5]}, [y])) == {"Conv": 1, "Mul": 1}


def test_a_matrix_on_the_other_axis() -> None:
    """MatMul behind Transpose multiplies what was the height, not the channels."""
    g = builder()
    turned = g.node("Transpose", g.conv("x", (4, 5), (1, 1)), perm=[0, 1, 3, 2])
    y = g.matmul(turned, (5, 5))
    assert operators(collapsed(g, {"x": [2, 4, 5, 5]}, [y])) == {"Conv": 1, "Transpose": 1, "MatMul": 1}


@pytest.mark.parametrize("perm", [[0, 2, 3, 1], [0, 3, 1, 2], [0, 3, 2, 1], [0, 1, 3, 2]], ids=str)
def test_a_matrix_over_axes_in_another_order(perm: list[int]) -> None:
    """Flatten in front of Gemm is a convolution only where channels and space lie as they were."""
    g = builder()
    turned = g.node("Transpose", g.conv("x", (4, 5), (1, 1)), perm=perm)
    y = g.gemm(g.node("Flatten", turned), (5 * 3 * 2, 4))
    left = operators(collapsed(g, {"x": ["N", 4, 3, 2]}, [y]))
    assert left == {"Conv": 1, "Transpose": 1, "Flatten": 1, "Gemm": 1}
