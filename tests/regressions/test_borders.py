"""What happens beyond the edge: padding that is negative or not zero, borders, automatic padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from onnx_nepenthe.affine.grids import BORDER
from tests.helpers.build import Builder
from tests.helpers.compare import operators
from tests.helpers.exact import stages
from tests.helpers.unharmed import builder, collapsed

STATIC, DYNAMIC = [2, 4, 6, 5], ["N", 4, "H", "W"]
BOTH = pytest.mark.parametrize("dims", [STATIC, DYNAMIC], ids=["known", "any"])


def padded(g: Builder, pads: Sequence[int], value: float | None = None, mode: str = "constant") -> str:
    values = [] if value is None else [g.constant(value)]
    return g.node("Pad", "x", g.constant(np.array(pads)), *values, mode=mode)


@BOTH
@pytest.mark.parametrize("value", [None, 0.0, -0.0])
def test_zeros_join_the_convolution(dims: list[int | str], value: float | None) -> None:
    g = builder()
    y = g.conv(padded(g, [0, 0, 1, 2, 0, 0, 0, 1], value), (4, 3), (3, 3))
    assert operators(collapsed(g, {"x": dims}, [y])) == {"Conv": 1}


KEPT_PADS = {
    "crops": ([0, 0, -1, 0, 0, 0, 0, 0], None, "constant"),
    "crops and pads": ([0, 0, 1, 1, 0, 0, 1, -1], None, "constant"),
    "another number": ([0, 0, 1, 1, 0, 0, 1, 1], 0.5, "constant"),
    "edge": ([0, 0, 1, 1, 0, 0, 1, 1], None, "edge"),
    "reflect": ([0, 0, 1, 1, 0, 0, 1, 1], None, "reflect"),
    "channels": ([0, 1, 0, 0, 0, 0, 0, 0], None, "constant"),
    "samples": ([1, 0, 0, 0, 0, 0, 0, 0], None, "constant"),
}


@BOTH
@pytest.mark.parametrize("name", KEPT_PADS)
def test_other_padding_stays(name: str, dims: list[int | str]) -> None:
    pads, value, mode = KEPT_PADS[name]
    g = builder()
    y = g.conv(padded(g, pads, value, mode), (5 if name == "channels" else 4, 3), (3, 3))
    assert operators(collapsed(g, {"x": dims}, [y])) == {"Pad": 1, "Conv": 1}


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_padding_as_attributes(value: float) -> None:
    g = builder(opset=10)
    y = g.conv(g.node("Pad", "x", pads=[0, 0, 1, 1, 0, 0, 1, 1], value=value), (4, 3), (3, 3))
    wanted = {"Conv": 1} if value == 0 else {"Pad": 1, "Conv": 1}
    assert operators(collapsed(g, {"x": STATIC}, [y])) == wanted


def test_padding_of_named_axes() -> None:
    g = builder(opset=18)
    width = g.node("Pad", "x", g.constant(np.array([2, 1])), "", g.constant(np.array([-1])))
    assert operators(collapsed(g, {"x": STATIC}, [g.conv(width, (4, 3), (3, 3))])) == {"Conv": 1}


def test_padding_of_an_axis_that_only_looks_like_space() -> None:
    """Zeros behind the last feature of rows are no border of a convolution."""
    g = builder()
    y = g.gemm(g.node("Pad", "x", g.constant(np.array([0, 0, 0, 2]))), (6, 3))
    assert operators(collapsed(g, {"x": [2, 4]}, [y])) == {"Pad": 1, "Gemm": 1}


def test_a_batch_norm_before_a_padded_convolution_has_a_border() -> None:
    g = builder()
    y = g.conv(g.batch_norm("x", 4), (4, 3), (3, 3), pads=1)
    assert operators(collapsed(g, {"x": STATIC}, [y])) == {"Conv": 1, "Add": 1}


@pytest.mark.parametrize("op_type", ["Add", "Sub"])
def test_a_shift_before_a_padded_convolution_has_a_border(op_type: str) -> None:
    g = builder()
    y = g.conv(g.node(op_type, "x", g.constant(g.positive(4, 1, 1))), (4, 3), (3, 3), pads=[1, 0, 2, 1])
    assert operators(collapsed(g, {"x": STATIC}, [y])) == {"Conv": 1, "Add": 1}


def test_a_scale_before_a_padded_convolution_has_none() -> None:
    g = builder()
    y = g.conv(g.node("Mul", "x", g.constant(g.positive(4, 1, 1))), (4, 3), (3, 3), pads=1)
    assert operators(collapsed(g, {"x": DYNAMIC}, [y])) == {"Conv": 1}


def test_a_batch_norm_before_a_padded_convolution_of_any_size() -> None:
    """One operator would cost a second convolution here, so that nothing is gained."""
    g = builder()
    y = g.conv(g.batch_norm("x", 4), (4, 3), (3, 3), pads=1)
    assert operators(collapsed(g, {"x": DYNAMIC}, [y])) == {"BatchNormalization": 1, "Conv": 1}


@BOTH
def test_a_border_behind_a_convolution_with_a_kernel_is_refused(dims: list[int | str]) -> None:
    g = builder()
    first = g.conv("x", (4, 4), (3, 3), pads=1, bias=False)
    y = g.conv(first, (4, 3), (3, 3), pads=1)
    assert stages(g.model({"x": dims}, [y])).atlas.form("x", y) == BORDER
    assert operators(collapsed(g, {"x": dims}, [y])) == {"Conv": 2}


@pytest.mark.parametrize("pads", [[0, 1, 0, 1], [1, 0, 1, 0]], ids=str)
def test_padding_along_an_axis_without_a_kernel(pads: list[int]) -> None:
    """(3, 1) then (1, 3): each axis is padded by the convolution that has taps there."""
    g = builder()
    kernels = [(3, 1), (1, 3)] if pads[1] else [(1, 3), (3, 1)]
    y = g.conv(g.conv("x", (4, 4), kernels[0], bias=False), (4, 3), kernels[1], pads=pads)
    assert operators(collapsed(g, {"x": STATIC}, [y])) == {"Conv": 1}


@BOTH
@pytest.mark.parametrize("count", [0, 1])
def test_an_average_over_the_border(count: int, dims: list[int | str]) -> None:
    g = builder()
    pooled = g.node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=count)
    y = g.conv(pooled, (4, 3), (1, 1))
    assert operators(collapsed(g, {"x": dims}, [y])) == ({"Conv": 1} if count else {"AveragePool": 1, "Conv": 1})


@pytest.mark.parametrize("size", [5, 6, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_automatic_padding(mode: str, kernel: int, stride: int, size: int) -> None:
    g = builder()
    strides = [stride, 1]
    y = g.conv(g.conv("x", (4, 4), (kernel, 3), auto_pad=mode, strides=strides), (4, 3), (1, 1))
    assert operators(collapsed(g, {"x": [2, 4, size, 5]}, [y])) == {"Conv": 1}


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_automatic_padding_of_an_even_kernel_of_any_size(mode: str) -> None:
    g = builder()
    y = g.conv(g.conv("x", (4, 4), (2, 4), auto_pad=mode), (4, 3), (1, 1))
    assert operators(collapsed(g, {"x": DYNAMIC}, [y])) == {"Conv": 1}


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_automatic_padding_that_depends_on_an_unknown_size_stays(mode: str) -> None:
    g = builder()
    y = g.conv(g.conv("x", (4, 4), (3, 3), auto_pad=mode, strides=[2, 2]), (4, 3), (1, 1))
    assert operators(collapsed(g, {"x": DYNAMIC}, [y])) == {"Conv": 2}


def test_a_dead_channel_in_front_of_a_padded_convolution_leaves_a_border() -> None:
    """A channel that is always one number is zero beyond the edge all the same."""
    g = builder()
    signs = g.constant(np.array([1, -1, 1, -1], np.float32).reshape(4, 1, 1))
    middle = g.node("Relu", g.node("Add", g.node("Mul", g.node("Sigmoid", "x"), signs), g.constant(np.float32(0.0))))
    shifted = g.node("Add", middle, g.constant(g.positive(4, 1, 1)))
    y = g.conv(shifted, (4, 3), (3, 3), pads=1)
    assert operators(collapsed(g, {"x": STATIC}, [y])) == {"Sigmoid": 1, "Conv": 1, "Add": 1}
