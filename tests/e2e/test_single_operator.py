"""What two or more linear operators become: one, with equal numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.grids import BORDER
from onnx_nepenthe.errors import Refused
from tests.helpers.build import Builder, Dims
from tests.helpers.compare import assert_same, feeds_for, operators
from tests.helpers.exact import collapse_exact, stages

Make = Callable[[Builder], str]
Ops = dict[str, int]
TOLERANCE = 1e-5
OVER_ONES = {"Conv": 2, "Shape": 1, "Gather": 1, "Concat": 1, "ConstantOfShape": 1, "Add": 1}
"""A border whose size is known only at run time: a convolution over a plane of ones."""
CONV = {"Conv": 1}
BORDERED = {"Conv": 1, "Add": 1}
SIZES = {"N": 2, "T": 5, "H": 9, "W": 7, "D": 6}


@dataclass(frozen=True)
class Case:
    """A graph over x, and the operators it becomes for sizes known and unknown."""

    make: Make
    static: Ops
    dynamic: Ops


def conv_conv(first: tuple[int, int], second: tuple[int, int], **at: bool) -> Make:
    """(kernel, pads) of two convolutions, 8 → 6 → 5 channels."""

    def make(g: Builder) -> str:
        middle = g.conv("x", (8, 6), (first[0],) * 2, pads=first[1], bias=at.get("bias", True))
        return g.conv(middle, (6, 5), (second[0],) * 2, pads=second[1])

    return make


def mobile_block(g: Builder) -> str:
    wide = g.conv("x", (8, 24), (1, 1))
    deep = g.conv(wide, (24, 24), (3, 3), pads=1, group=24)
    return g.node("Add", "x", g.conv(deep, (24, 8), (1, 1)))


def mobile_block_without_bias(g: Builder) -> str:
    wide = g.conv("x", (8, 24), (1, 1), bias=False)
    deep = g.conv(wide, (24, 24), (3, 3), pads=1, group=24)
    return g.node("Add", g.conv(deep, (24, 8), (1, 1)), "x")


def rep_vgg(g: Builder) -> str:
    three = g.batch_norm(g.conv("x", (8, 8), (3, 3), pads=1, bias=False), 8)
    one = g.batch_norm(g.conv("x", (8, 8), (1, 1), bias=False), 8)
    return g.node("Add", g.node("Add", three, one), g.batch_norm("x", 8))


def inception(g: Builder) -> str:
    branches = (g.conv("x", (8, 4), (3, 3), pads=1), g.conv("x", (8, 5), (1, 1)), g.conv("x", (8, 2), (5, 5), pads=2))
    return g.node("Concat", *branches, axis=1)


def pooled(g: Builder) -> str:
    mean = g.node("GlobalAveragePool", g.conv("x", (8, 12), (1, 1)))
    return g.gemm(g.node("Flatten", mean), (12, 5))


def normalised(g: Builder) -> str:
    centred = g.node("Sub", "x", g.constant(g.random(8, 1, 1)))
    return g.conv(g.node("Div", centred, g.constant(g.positive(1, 8, 1, 1))), (8, 5), (3, 3))


def with_constant(op_type: str, *shape: int, first: bool = False) -> Make:
    """A convolution (8 → 5 channels) and a constant of `shape`."""

    def make(g: Builder) -> str:
        operands = [g.conv("x", (8, 5), (3, 3), pads=1), g.constant(g.positive(*shape))]
        return g.node(op_type, *(reversed(operands) if first else operands))

    return make


IMAGES: dict[str, Case] = {
    "1x1, 3x3 padded": Case(conv_conv((1, 0), (3, 1)), BORDERED, OVER_ONES),
    "1x1 without bias, 3x3 padded": Case(conv_conv((1, 0), (3, 1), bias=False), CONV, CONV),
    "1x1, 3x3": Case(conv_conv((1, 0), (3, 0)), CONV, CONV),
    "3x3 padded, 1x1": Case(conv_conv((3, 1), (1, 0)), CONV, CONV),
    "3x3 padded without bias, 1x1": Case(conv_conv((3, 1), (1, 0), bias=False), CONV, CONV),
    "3x3, 3x3": Case(conv_conv((3, 0), (3, 0)), CONV, CONV),
    "5x5 padded, 3x3": Case(conv_conv((5, 2), (3, 0)), CONV, CONV),
    "depthwise, pointwise": Case(
        lambda g: g.conv(g.conv("x", (8, 8), (3, 3), pads=1, group=8), (8, 5), (1, 1)), CONV, CONV
    ),
    "depthwise, depthwise": Case(
        lambda g: g.conv(g.conv("x", (8, 8), (3, 3), pads=1, group=8), (8, 8), (3, 3), group=8), CONV, CONV
    ),
    "strides": Case(
        lambda g: g.conv(g.conv("x", (8, 6), (3, 3), pads=1, strides=[2, 1]), (6, 5), (3, 3), strides=[1, 2]),
        CONV,
        CONV,
    ),
    "MobileNetV2": Case(mobile_block, BORDERED, OVER_ONES),
    "MobileNetV2 without the first bias": Case(mobile_block_without_bias, CONV, CONV),
    "x + conv 1x1": Case(lambda g: g.node("Add", "x", g.conv("x", (8, 8), (1, 1))), CONV, CONV),
    "conv 3x3 + x": Case(lambda g: g.node("Add", g.conv("x", (8, 8), (3, 3), pads=1), "x"), CONV, CONV),
    "RepVGG": Case(rep_vgg, CONV, CONV),
    "parallel convolutions": Case(inception, CONV, CONV),
    "BN, conv": Case(lambda g: g.conv(g.batch_norm("x", 8), (8, 5), (3, 3)), CONV, CONV),
    "BN, conv padded": Case(
        lambda g: g.conv(g.batch_norm("x", 8), (8, 5), (3, 3), pads=1), BORDERED, {"BatchNormalization": 1, "Conv": 1}
    ),
    "conv, BN": Case(lambda g: g.batch_norm(g.conv("x", (8, 5), (3, 3), pads=1), 5), CONV, CONV),
    "BN, BN": Case(
        lambda g: g.batch_norm(g.batch_norm("x", 8), 8), {"BatchNormalization": 1}, {"BatchNormalization": 1}
    ),
    "normalised input": Case(normalised, CONV, CONV),
    "conv * c": Case(with_constant("Mul", 5, 1, 1), CONV, CONV),
    "c * conv": Case(with_constant("Mul", 1, 5, 1, 1, first=True), CONV, CONV),
    "conv * s": Case(with_constant("Mul"), CONV, CONV),
    "s * conv": Case(with_constant("Mul", 1, first=True), CONV, CONV),
    "conv + c": Case(with_constant("Add", 5, 1, 1), CONV, CONV),
    "c + conv": Case(with_constant("Add", 1, 5, 1, 1, first=True), CONV, CONV),
    "conv + s": Case(with_constant("Add"), CONV, CONV),
    "s + conv": Case(with_constant("Add", 1, 1, 1, 1, first=True), CONV, CONV),
    "conv - c": Case(with_constant("Sub", 5, 1, 1), CONV, CONV),
    "c - conv": Case(with_constant("Sub", 5, 1, 1, first=True), CONV, CONV),
    "conv - s": Case(with_constant("Sub"), CONV, CONV),
    "s - conv": Case(with_constant("Sub", first=True), CONV, CONV),
    "conv / c": Case(with_constant("Div", 5, 1, 1), CONV, CONV),
    "conv / s": Case(with_constant("Div"), CONV, CONV),
    "conv 1x1, mean, Flatten, Gemm": Case(
        pooled, {"GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}, {"GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}
    ),
    "channels last": Case(
        lambda g: g.node(
            "Transpose",
            g.matmul(g.matmul(g.node("Transpose", "x", perm=[0, 2, 3, 1]), (8, 16), bias=True), (16, 4), bias=True),
            perm=[0, 3, 1, 2],
        ),
        CONV,
        CONV,
    ),
}
GEMM = {"Gemm": 1}
ROWS: dict[str, Make] = {
    "Gemm, Gemm": lambda g: g.gemm(g.gemm("x", (6, 9)), (9, 4), transB=1),
    "Gemm, Gemm with factors": lambda g: g.gemm(g.gemm("x", (6, 9), alpha=0.5, beta=2.0), (9, 4), alpha=-1.5),
    "(MatMul + Add) twice": lambda g: g.matmul(g.matmul("x", (6, 9), bias=True), (9, 4), bias=True),
    "x + Gemm": lambda g: g.node("Add", "x", g.gemm("x", (6, 6))),
    "Gemm + Gemm": lambda g: g.node("Add", g.gemm("x", (6, 4)), g.gemm("x", (6, 4))),
    "BN, Gemm": lambda g: g.gemm(g.batch_norm("x", 6), (6, 4)),
    "Gemm, BN": lambda g: g.batch_norm(g.gemm("x", (6, 4)), 4),
    "MatMul + Add, BN": lambda g: g.batch_norm(g.matmul("x", (6, 4), bias=True), 4),
    "Gemm * v + v": lambda g: g.node(
        "Add", g.node("Mul", g.gemm("x", (6, 4)), g.constant(g.random(4))), g.constant(g.random(4))
    ),
}


def check(make: Make, dims: Dims, wanted: Ops, tolerance: float = TOLERANCE) -> None:
    g = Builder(np.random.default_rng(7))
    before = g.model({"x": dims}, [make(g)])
    after = collapse_exact(before)
    assert operators(after) == wanted
    assert_same(after, before, feeds_for(before, np.random.default_rng(8), SIZES), tolerance)


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_known_size(name: str) -> None:
    check(IMAGES[name].make, [2, 8, 10, 9], IMAGES[name].static)


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_any_size(name: str) -> None:
    check(IMAGES[name].make, ["N", 8, "H", "W"], IMAGES[name].dynamic)


@pytest.mark.parametrize("rows", [3, "N"])
@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str, rows: int | str) -> None:
    check(ROWS[name], [rows, 6], GEMM)


@pytest.mark.parametrize("dims", [[3, 5, 6], ["N", "T", 6]], ids=["known", "any"])
def test_matrix_products_of_sequences(dims: Dims) -> None:
    both = {"MatMul": 1, "Add": 1}
    check(lambda g: g.matmul(g.matmul("x", (6, 9), bias=True), (9, 4), bias=True), dims, both)
    check(lambda g: g.node("Add", "x", g.matmul("x", (6, 6), bias=True)), dims, both)


@pytest.mark.parametrize("dims", [[3, 6], ["N", 6], [3, 5, 6], ["N", "T", 6], [2, 3, 5, 6]], ids=str)
def test_matrix_products_without_addends(dims: Dims) -> None:
    check(lambda g: g.matmul(g.matmul("x", (6, 9)), (9, 4)), dims, {"MatMul": 1})


@pytest.mark.parametrize("n", [2, "N"])
def test_convolution_then_matrix_product(n: int | str) -> None:
    def make(g: Builder) -> str:
        flat = g.node("Flatten", g.conv("x", (8, 3), (3, 3), pads=1, strides=[2, 2]))
        return g.gemm(flat, (3 * 5 * 5, 7))

    check(make, [n, 8, 10, 9], {"Flatten": 1, "Gemm": 1})


@pytest.mark.parametrize("n", [2, "N"])
def test_matrix_product_between_reshapes(n: int | str) -> None:
    def make(g: Builder) -> str:
        rows = g.node("Reshape", "x", g.constant(np.array([-1, 6])))
        return g.node("Reshape", g.gemm(rows, (6, 4)), g.constant(np.array([-1 if n == "N" else 2, 5, 4])))

    check(make, [n, 5, 6], {"MatMul": 1, "Add": 1})


SPACES: dict[str, tuple[Dims, Dims]] = {
    "1-D": ([2, 6, 11], ["N", 6, "W"]),
    "3-D": ([2, 6, 5, 6, 7], ["N", 6, "D", "H", "W"]),
}


def block(g: Builder, spatial: int) -> str:
    one, three = (1,) * spatial, (3,) * spatial
    deep = g.conv(g.conv("x", (6, 12), one), (12, 12), three, pads=1, group=12)
    return g.node("Add", "x", g.conv(deep, (12, 6), one))


def rep_block(g: Builder, spatial: int) -> str:
    one, three = (1,) * spatial, (3,) * spatial
    branches = g.batch_norm(g.conv("x", (6, 6), three, pads=1), 6), g.batch_norm(g.conv("x", (6, 6), one), 6)
    return g.node("Sum", *branches, g.batch_norm("x", 6))


@pytest.mark.parametrize("space", SPACES)
def test_other_numbers_of_axes(space: str) -> None:
    static, dynamic = SPACES[space]
    spatial = len(static) - 2
    one, three = (1,) * spatial, (3,) * spatial
    for dims in (static, dynamic):
        check(lambda g: g.conv(g.conv("x", (6, 4), three, pads=1), (4, 5), one), dims, CONV)
        check(lambda g: g.conv(g.conv("x", (6, 4), three), (4, 5), three), dims, CONV)
        check(lambda g: g.conv(g.conv("x", (6, 6), three, pads=1, group=6), (6, 5), one), dims, CONV)
        check(
            lambda g: g.node("Concat", g.conv("x", (6, 4), three, pads=1), g.conv("x", (6, 3), one), axis=1), dims, CONV
        )
        check(lambda g: rep_block(g, spatial), dims, CONV)
    check(lambda g: block(g, spatial), static, BORDERED)
    check(lambda g: block(g, spatial), dynamic, OVER_ONES)


@pytest.mark.parametrize("dims", [[2, 8, 10, 9], ["N", 8, "H", "W"]], ids=["known", "any"])
def test_two_padded_kernels_are_refused_for_their_border(dims: Dims) -> None:
    g = Builder(np.random.default_rng(7))
    y = conv_conv((3, 1), (3, 1))(g)
    before = g.model({"x": dims}, [y])
    found = stages(before)
    assert found.atlas.form("x", y) == BORDER
    assert BORDER.reason.startswith("border")
    assert found.regions == ()
    check(conv_conv((3, 1), (3, 1)), dims, {"Conv": 2}, tolerance=0.0)


@pytest.mark.parametrize("kernel", [2, 3])
def test_two_padded_kernels_hold_back_only_each_other(kernel: int) -> None:
    """What surrounds the refused pair still joins it."""

    def make(g: Builder) -> str:
        first = g.conv(g.conv("x", (8, 6), (kernel, kernel), pads=1), (6, 6), (1, 1))
        return g.batch_norm(g.conv(first, (6, 5), (3, 3), pads=1), 5)

    check(make, [2, 8, 10, 9], {"Conv": 2})


def test_a_refusal_and_a_form_are_told_apart() -> None:
    g = Builder(np.random.default_rng(7))
    y = conv_conv((3, 1), (1, 0))(g)
    form = stages(g.model({"x": [2, 8, 10, 9]}, [y])).atlas.form("x", y)
    assert isinstance(form, Form)
    assert not isinstance(form, Refused)


def test_what_is_as_small_as_it_can_be_stays() -> None:
    def head(g: Builder) -> str:
        pooled = g.node("MaxPool", "x", kernel_shape=[10, 9])
        return g.gemm(g.node("Reshape", pooled, g.constant(np.array([-1, 8]))), (8, 3))

    check(head, ["N", 8, 10, 9], {"MaxPool": 1, "Reshape": 1, "Gemm": 1}, tolerance=0.0)
    check(lambda g: g.node("Add", g.node("Mul", "x", g.constant(2.0)), g.constant(1.0)), [2, 3], {"Mul": 1, "Add": 1})
