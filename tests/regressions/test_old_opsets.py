"""Operators whose meaning or form changed: broadcasting before opset 7, statistics, axes as attributes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_nepenthe.affine.forms import Form
from tests.helpers.compare import operators
from tests.helpers.exact import collapse_exact, stages
from tests.helpers.unharmed import builder, collapsed

STATIC, DYNAMIC = [2, 4, 6, 5], ["N", 4, "H", "W"]
OPSETS = [7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 20, 21, 22]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dims", [STATIC, DYNAMIC], ids=["known", "any"])
def test_batch_normalisation(opset: int, dims: list[int | str]) -> None:
    g = builder(opset)
    y = g.batch_norm(g.conv("x", (4, 3), (3, 3), pads=1), 3, epsilon=0.01)
    assert operators(collapsed(g, {"x": dims}, [y])) == {"Conv": 1}


@pytest.mark.parametrize("opset", OPSETS)
def test_two_batch_normalisations_become_one_of_the_same_opset(opset: int) -> None:
    g = builder(opset)
    y = g.batch_norm(g.batch_norm("x", 4), 4)
    assert operators(collapsed(g, {"x": DYNAMIC}, [y])) == {"BatchNormalization": 1}


def test_batch_normalisation_of_every_position_stays() -> None:
    """spatial=0 (opset 7 and 8): statistics have the shape of a sample."""
    g = builder(opset=7)
    numbers = [g.constant(g.positive(4, 2, 3)) for _ in range(4)]
    y = g.node("BatchNormalization", g.conv("x", (4, 4), (1, 1)), *numbers, spatial=0)
    model = g.model({"x": [2, 4, 2, 3]}, [y])
    assert operators(collapse_exact(model)) == {"Conv": 1, "BatchNormalization": 1}


@pytest.mark.parametrize("opset", [14, 15, 17])
def test_batch_normalisation_in_training_stays(opset: int) -> None:
    g = builder(opset)
    numbers = [g.constant(g.positive(4)) for _ in range(4)]
    outs = [g.fresh("v") for _ in range(3)]
    first = g.conv("x", (4, 4), (1, 1))
    y, *_ = g.node_n("BatchNormalization", first, *numbers, outs=outs, training_mode=1)
    assert operators(collapse_exact(g.model({"x": STATIC}, [y]))) == {"Conv": 1, "BatchNormalization": 1}


ADDENDS: dict[str, tuple[tuple[int, ...], bool]] = {
    "row": ((3,), True),
    "one row": ((1, 3), True),
    "number": ((), True),
    "one number": ((1,), True),
    "one number, two axes": ((1, 1), True),
    "column": ((2, 1), False),
    "matrix": ((2, 3), False),
}


@pytest.mark.parametrize("opset", [7, 9, 11, 13])
@pytest.mark.parametrize("name", ADDENDS)
def test_addends_that_are_broadcast(name: str, opset: int) -> None:
    shape, joins = ADDENDS[name]
    g = builder(opset)
    first = g.gemm("x", (4, 5))
    y = g.node("Gemm", first, g.constant(g.random(5, 3)), g.constant(g.positive(*shape)), beta=0.5, alpha=2.0)
    assert operators(collapsed(g, {"x": [2, 4]}, [y])) == {"Gemm": 1 if joins else 2}


def test_an_addend_per_row_that_could_be_per_column() -> None:
    """(3, 1) with three rows and three columns."""
    g = builder(opset=7)
    y = g.node("Gemm", g.gemm("x", (4, 5)), g.constant(g.random(5, 3)), g.constant(g.positive(3, 1)))
    assert operators(collapsed(g, {"x": [3, 4]}, [y])) == {"Gemm": 2}


def test_a_product_that_transposes_its_left_operand_stays() -> None:
    g = builder()
    y = g.node("Gemm", g.gemm("x", (3, 3)), g.constant(g.random(3, 2)), g.constant(g.random(2)), transA=1)
    assert operators(collapsed(g, {"x": [3, 3]}, [y])) == {"Gemm": 2}


def old_sum(opset: int) -> onnx.ModelProto:
    """x + c along axis 1, as opset 6 writes it; W is as long as C."""
    text = f"""<ir_version: 3, opset_import: ["" : {opset}]>
        g (float[1, 3, 3, 3] x, float[3] c, float[3, 3, 1, 1] w) => (float[1, 3, 3, 3] y)
        <float[3] c = {{1, 2, 3}}, float[3, 3, 1, 1] w = {{1, 2, 3, 4, 5, 6, 7, 8, 9}}>
        {{ s = Add <axis = 1, broadcast = 1> (x, c)  y = Conv (s, w) }}"""
    return onnx.parser.parse_model(text)


@pytest.mark.parametrize("opset", [5, 6])
def test_broadcasting_before_opset_7_is_not_read(opset: int) -> None:
    model = old_sum(opset)
    found = stages(model)
    assert not isinstance(found.atlas.form("x", "y"), Form)
    assert [entry.refusal.reason for entry in found.atlas.refusals] == ["its opset is older than 7"]
    assert found.regions == ()
    assert operators(collapse_exact(model)) == {"Add": 1, "Conv": 1}


def test_a_rectifier_before_opset_7_stays() -> None:
    text = """<ir_version: 3, opset_import: ["" : 6]>
        g (float[1, 3, 3, 3] x) => (float[1, 3, 3, 3] y) { a = Sigmoid (x)  y = Relu (a) }"""
    assert operators(collapse_exact(onnx.parser.parse_model(text))) == {"Sigmoid": 1, "Relu": 1}


@pytest.mark.parametrize("opset", [9, 10, 13, 18])
def test_forms_of_slice_and_split(opset: int) -> None:
    g = builder(opset)
    if opset < 10:
        part = g.node("Slice", "x", starts=[1], ends=[3], axes=[1])
    else:
        part = g.node("Slice", "x", *(g.constant(np.array([n])) for n in (1, 3, 1)))
    ends = {"split": [1, 1]} if opset < 13 else {}
    sizes = [g.constant(np.array([1, 1]))] if opset >= 13 else []
    first, second = g.node_n("Split", part, *sizes, outs=("first", "second"), axis=1, **ends)
    y = g.node("Sub", g.conv(first, (1, 3), (1, 1)), g.conv(second, (1, 3), (1, 1)))
    assert operators(collapsed(g, {"x": DYNAMIC}, [y])) == {"Conv": 1}


@pytest.mark.parametrize("opset", [11, 12, 13, 18])
def test_forms_of_means_and_squeezes(opset: int) -> None:
    g = builder(opset)
    axes = np.array([2, 3])
    first = g.conv("x", (4, 6), (1, 1))
    mean = g.node("ReduceMean", first, g.constant(axes)) if opset >= 18 else g.node("ReduceMean", first, axes=axes)
    flat = g.node("Squeeze", mean, g.constant(axes)) if opset >= 13 else g.node("Squeeze", mean, axes=axes)
    y = g.gemm(flat, (6, 3))
    after = operators(collapsed(g, {"x": DYNAMIC}, [y]))
    assert after == {"GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}


@pytest.mark.parametrize("opset", [7, 10, 12, 13])
def test_dropout_does_nothing(opset: int) -> None:
    g = builder(opset)
    y = g.conv(g.node("Dropout", g.conv("x", (4, 3), (1, 1))), (3, 2), (1, 1))
    assert operators(collapsed(g, {"x": DYNAMIC}, [y])) == {"Conv": 1}


def test_dropout_in_training_stays() -> None:
    g = builder()
    training = g.constant(np.array(True))
    y = g.conv(g.node("Dropout", g.conv("x", (4, 3), (1, 1)), g.constant(0.5), training), (3, 2), (1, 1))
    assert operators(collapse_exact(g.model({"x": DYNAMIC}, [y]))) == {"Conv": 2, "Dropout": 1}


@pytest.mark.parametrize("opset", [7, 8])
def test_no_plane_of_ones_before_constant_of_shape(opset: int) -> None:
    g = builder(opset)
    y = g.conv(g.conv("x", (4, 6), (1, 1)), (6, 5), (3, 3), pads=1)
    assert operators(collapsed(g, {"x": DYNAMIC}, [y])) == {"Conv": 2}
