"""A rectifier that is always off leaves a constant: of the shape that it had, and only where that is known."""

from __future__ import annotations

import pytest

from tests.helpers.build import Builder, Dims
from tests.helpers.compare import operators
from tests.helpers.unharmed import builder, unharmed

RANGE = {"x": (-3.0, 3.0)}


def off(g: Builder, x: str, shift: float = 0.0) -> str:
    """Zero plus `shift` per channel, whatever x is."""
    zero = g.node("Relu", g.node("Neg", g.node("Abs", x)))
    return g.node("Add", zero, g.constant(g.positive(4, 1, 1))) if shift else zero


OPERATORS = ["Add", "Sub", "Mul"]


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
@pytest.mark.parametrize("op_type", OPERATORS)
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_with_a_value_of_the_same_shape(op_type: str, shift: float, first: bool) -> None:
    g = builder()
    operands = [off(g, "x", shift), g.node("Sigmoid", "z")]
    y = g.node(op_type, *(operands if first else operands[::-1]))
    before = g.model({"x": [2, 4, 6, 5], "z": [2, 4, 6, 5]}, [y])
    left = operators(unharmed(before, RANGE))
    assert "Relu" not in left
    assert "Abs" not in left


SHAPES: dict[str, tuple[Dims, Dims]] = {
    "smaller": ([2, 4, 1, 1], [2, 4, 6, 5]),
    "larger": ([2, 4, 6, 5], [2, 4, 1, 1]),
    "one channel": ([2, 4, 6, 5], [2, 1, 6, 5]),
    "one sample": ([2, 4, 6, 5], [1, 4, 6, 5]),
    "fewer axes": ([2, 4, 6, 5], [6, 5]),
}


@pytest.mark.parametrize("op_type", [*OPERATORS, "Div"])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_with_a_value_that_is_broadcast(op_type: str, name: str, shift: float) -> None:
    """The constant's shape is part of the result's."""
    shape, other = SHAPES[name]
    g = builder()
    operands = [off(g, "x", shift), g.node("Add", g.node("Sigmoid", "z"), g.constant(1.0))]
    unharmed(g.model({"x": shape, "z": other}, [g.node(op_type, *operands)]), RANGE)


@pytest.mark.parametrize("dims", [[2, 4, 6, 5], ["N", 4, "H", "W"]], ids=["known", "any"])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_in_front_of_a_convolution(kernel: int, shift: float, dims: Dims) -> None:
    """Zero beyond the edge, the constant inside it."""
    g = builder()
    y = g.conv(off(g, "x", shift), (4, 3), (kernel, kernel), pads=kernel // 2)
    z = g.node("Add", g.conv("x", (4, 3), (3, 3), pads=1), y)
    left = operators(unharmed(g.model({"x": dims}, [z]), RANGE))
    if "N" not in dims:
        assert left == {"Conv": 1, "Add": 1} if shift and kernel == 3 else {"Conv": 1}


@pytest.mark.parametrize("axis", [1, 2])
def test_beside_another_value(axis: int) -> None:
    g = builder()
    y = g.conv(g.node("Concat", off(g, "x", 1.0), "x", axis=axis), (8 if axis == 1 else 4, 3), (3, 3), pads=1)
    unharmed(g.model({"x": [2, 4, 6, 5]}, [y]), RANGE)


def test_behind_a_mean_and_a_matrix() -> None:
    g = builder()
    pooled = g.node("Flatten", g.node("GlobalAveragePool", off(g, "x", 1.0)))
    before = g.model({"x": ["N", 4, "H", "W"]}, [g.gemm(pooled, (4, 3))])
    left = operators(unharmed(before, RANGE))
    assert "Relu" not in left


def test_infinite_inputs_are_not_off() -> None:
    """0 * inf is NaN, where Relu of -inf is 0: without a range nothing is said of x."""
    g = builder()
    before = g.model({"x": [2, 4, 6, 5]}, [g.conv(off(g, "x"), (4, 3), (1, 1))])
    assert operators(unharmed(before)) == operators(before)
