"""Values that more than one thing needs."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.compare import operators
from tests.helpers.unharmed import builder, collapsed, unharmed

STATIC, DYNAMIC = [2, 4, 6, 5], ["N", 4, "H", "W"]
BOTH = pytest.mark.parametrize("dims", [STATIC, DYNAMIC], ids=["known", "any"])


@BOTH
def test_a_convolution_that_is_an_output_too(dims: list[int | str]) -> None:
    """Its own numbers are asked for; what follows joins a copy."""
    g = builder()
    first = g.conv("x", (4, 3), (3, 3), pads=1)
    y = g.batch_norm(first, 3)
    after = collapsed(g, {"x": dims}, [first, y])
    assert operators(after)["Conv"] in (1, 2)
    assert [info.name for info in after.graph.output] == [first, y]


@BOTH
def test_a_convolution_that_is_the_second_output(dims: list[int | str]) -> None:
    g = builder()
    first = g.conv("x", (4, 3), (3, 3), pads=1)
    second = g.conv(first, (3, 2), (1, 1))
    after = collapsed(g, {"x": dims}, [g.node("Relu", second), first, second])
    assert [info.name for info in after.graph.output][1:] == [first, second]


def test_every_value_of_a_chain_is_an_output() -> None:
    g = builder()
    chain = ["x"]
    for _ in range(3):
        chain.append(g.batch_norm(g.conv(chain[-1], (4, 4), (1, 1)), 4))
    unharmed(g.model({"x": DYNAMIC}, [*chain[1:], g.nodes[0].output[0]]))


def test_an_input_that_is_an_output() -> None:
    g = builder()
    y = g.node("Mul", g.node("Mul", "x", g.constant(2.0)), g.constant(3.0))
    assert operators(collapsed(g, {"x": DYNAMIC}, ["x", y])) == {"Mul": 1}


def test_two_outputs_that_are_one_value() -> None:
    g = builder()
    y = g.conv("x", (4, 4), (1, 1))
    first, second = g.node("Identity", y), g.node("Identity", g.node("Identity", y))
    assert operators(collapsed(g, {"x": DYNAMIC}, [first, second]))["Conv"] in (1, 2)


def test_an_output_that_is_its_input() -> None:
    g = builder()
    y = g.node("Neg", g.node("Neg", "x"))
    assert operators(collapsed(g, {"x": DYNAMIC}, [y])) == {"Identity": 1}


@BOTH
def test_an_activation_that_is_called_three_times(dims: list[int | str]) -> None:
    """One module with one weight, three call sites: always on, always off, needed. Each is decided on its own."""
    g = builder()
    slope = g.constant(g.positive(4, 1, 1))
    on = g.node("PRelu", g.node("Sigmoid", "x"), slope)
    off = g.node("PRelu", g.node("Neg", g.node("Sigmoid", g.conv(on, (4, 4), (1, 1)))), slope)
    y = g.conv(g.node("PRelu", g.conv(off, (4, 4), (3, 3), pads=1), slope), (4, 2), (1, 1))
    assert operators(collapsed(g, {"x": dims}, [y])) == {"Sigmoid": 2, "Conv": 3, "PRelu": 1}


@BOTH
@pytest.mark.parametrize("call", [0, 1, 2])
def test_one_of_three_calls_is_needed(call: int, dims: list[int | str]) -> None:
    g = builder()
    value = "x"
    for index in range(3):
        value = g.node("Relu", value if index == call else g.node("Sigmoid", value))
    left = operators(collapsed(g, {"x": dims}, [value]))
    # A Relu in front is needed, and one behind a Sigmoid is not, whoever came before.
    assert left == ({"Relu": 1, "Sigmoid": 2} if call == 0 else {"Sigmoid": 2})


def test_three_calls_of_one_value() -> None:
    """Two of them do nothing."""
    g = builder()
    x = g.node("Sigmoid", "x")
    calls = [g.node("Relu", x), g.node("Relu", g.node("Neg", x)), g.node("Relu", g.node("Sub", x, g.constant(0.5)))]
    y = g.node("Concat", *calls, axis=1)
    assert operators(collapsed(g, {"x": STATIC}, [y]))["Relu"] == 1


def test_nodes_without_names() -> None:
    g = builder()
    y = g.batch_norm(g.conv(g.node("Relu", g.conv("x", (4, 4), (1, 1))), (4, 4), (1, 1)), 4)
    before = g.model({"x": DYNAMIC}, [y])
    for node in before.graph.node:
        node.name = ""
    assert operators(unharmed(before)) == {"Conv": 2, "Relu": 1}


def test_an_input_that_nothing_uses() -> None:
    g = builder()
    y = g.batch_norm(g.conv("x", (4, 4), (1, 1)), 4)
    after = collapsed(g, {"x": DYNAMIC, "unused": ["N", 3]}, [y])
    assert [info.name for info in after.graph.input] == ["x", "unused"]


@BOTH
def test_a_value_used_inside_and_outside(dims: list[int | str]) -> None:
    g = builder()
    first = g.conv("x", (4, 4), (3, 3), pads=1)
    inside = g.batch_norm(first, 4)
    y = g.node("Add", inside, g.node("Sigmoid", first))
    assert operators(collapsed(g, {"x": dims}, [y]))["Sigmoid"] == 1


@BOTH
@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("per_group", [1, 2])
def test_a_grouped_transposed_convolution_and_a_batch_norm(dims: list[int | str], group: int, per_group: int) -> None:
    """Its weight is (in, out / groups, …): output channels run over groups first."""
    g = builder()
    weight, bias = g.constant(g.random(4, per_group, 3, 3)), g.constant(g.random(group * per_group))
    first = g.node("ConvTranspose", "x", weight, bias, group=group, pads=[1, 0, 1, 2])
    y = g.batch_norm(first, group * per_group)
    after = collapsed(g, {"x": dims}, [y])
    assert operators(after) == {"Conv": 1}


@pytest.mark.parametrize("attributes", [{"strides": [2, 1]}, {"strides": [2, 2], "output_padding": [1, 1]}], ids=str)
def test_transposed_convolutions_of_groups_with_a_stride(attributes: dict[str, list[int]]) -> None:
    g = builder()
    first = g.node("ConvTranspose", "x", g.constant(g.random(4, 2, 3, 3)), group=2, **attributes)
    after = collapsed(g, {"x": STATIC}, [g.batch_norm(first, 4)])
    assert operators(after) == {"ConvTranspose": 1}


def test_a_transposed_convolution_that_crops_its_kernel_stays() -> None:
    g = builder()
    first = g.node("ConvTranspose", "x", g.constant(g.random(4, 2, 3, 3)), group=2, pads=[3, 0, 0, 0])
    after = collapsed(g, {"x": STATIC}, [g.batch_norm(first, 4)])
    assert operators(after) == {"ConvTranspose": 1, "BatchNormalization": 1}


def test_a_product_of_two_values_is_no_map() -> None:
    g = builder()
    first = g.conv("x", (4, 4), (1, 1))
    y = g.conv(g.node("Mul", first, "x"), (4, 3), (1, 1))
    assert operators(collapsed(g, {"x": STATIC}, [y])) == {"Conv": 2, "Mul": 1}


def test_a_constant_divided_by_a_value_is_no_map() -> None:
    g = builder()
    shifted = g.node("Add", g.node("Sigmoid", "x"), g.constant(np.float32(1).reshape(1)))
    y = g.conv(g.node("Div", g.constant(2.0), shifted), (4, 3), (1, 1))
    assert operators(collapsed(g, {"x": STATIC}, [y])) == {"Sigmoid": 1, "Add": 1, "Div": 1, "Conv": 1}
