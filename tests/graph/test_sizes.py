"""Sizes that are called the same are the same in every run."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.graph.view import view_from_model
from tests.helpers.build import Builder
from tests.helpers.collapsing import collapse, result_of
from tests.helpers.compare import feeds_for, operators, run_runtime
from tests.helpers.networks import ARCHITECTURES, draw_network
from tests.helpers.unharmed import builder

FREE = {"x": ["N", 4, "H", "W"]}
Shape = tuple[int | str | None, ...]


def last_shape(g: Builder, y: str, **inputs: list[int | str]) -> Shape | None:
    model = g.model(inputs or FREE, [y])
    return view_from_model(ir.from_proto(model)).tensors[y].shape


def test_a_window_that_keeps_the_size() -> None:
    g = builder()
    y = g.conv(g.conv("x", (4, 3), (3, 3), pads=1), (3, 4), (1, 1))
    y = g.node("MaxPool", y, kernel_shape=[3, 3], auto_pad="SAME_UPPER")
    assert last_shape(g, g.node("Add", y, "x")) == ("N", 4, "H", "W")


def test_equal_windows_give_equal_sizes() -> None:
    """A projection beside a block with a stride."""
    g = builder()
    block = g.conv(g.conv("x", (4, 4), (3, 3), pads=1, strides=[2, 2]), (4, 4), (3, 3), pads=1)
    projection = g.conv("x", (4, 4), (1, 1), strides=[2, 2])
    total = g.node("Add", block, projection)
    view = view_from_model(ir.from_proto(g.model(FREE, [total])))
    sizes = view.tensors[block].shape
    assert sizes == view.tensors[projection].shape == view.tensors[total].shape
    assert sizes is not None
    assert not {"H", "W"} & {*sizes}


@pytest.mark.parametrize(
    "attributes", [{"pads": 0}, {"pads": 1, "strides": [2, 2]}, {"pads": 1, "dilations": [2, 2]}, {"auto_pad": "VALID"}]
)
def test_a_window_that_changes_the_size(attributes: dict[str, object]) -> None:
    g = builder()
    shape = last_shape(g, g.conv("x", (4, 4), (3, 3), **attributes))
    assert shape is not None
    assert not {"H", "W"} & {*shape}


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ([-1, 2, 2, 6, 5], ("N", 2, 2, 6, 5)),
        ([2, 2, -1, 6, 5], (2, 2, "N", 6, 5)),
        ([-1, 4, 30], ("N", 4, 30)),
        ([-1, 60], None),
        ([0, -1], None),
    ],
)
def test_what_a_reshape_leaves_over(target: list[int], wanted: Shape | None) -> None:
    g = builder()
    y = g.node("Relu", g.node("Reshape", "x", g.constant(np.array(target))))
    shape = last_shape(g, y, x=["N", 4, 6, 5])
    assert shape == wanted if wanted else shape is not None and shape[0] != ("N" if target[0] else "")


def test_a_reshape_that_a_caller_may_change_tells_nothing() -> None:
    g = builder()
    y = g.node("Reshape", "x", g.constant(np.array([-1, 4, 30]), home="input"))
    assert last_shape(g, g.node("Relu", y), x=["N", 4, 6, 5]) != ("N", 4, 30)


def test_resize_by_1() -> None:
    g = builder()
    y = g.node("Resize", "x", "", g.constant(np.array([1, 1, 2, 1], np.float32)), mode="nearest")
    shape = last_shape(g, y)
    assert shape is not None
    assert (shape[0], shape[3]) == ("N", "W")
    assert shape[2] != "H"


def test_a_branch_that_is_always_off_goes_when_sizes_are_open() -> None:
    g = builder()
    x = g.node("Relu", g.conv("x", (4, 4), (3, 3), pads=1))
    y = g.node("Relu", g.conv(x, (4, 4), (3, 3), pads=1))
    off = g.constant(np.full(4, -50, np.float32))
    y = g.node("Relu", g.node("Conv", y, g.constant(g.random(4, 4, 3, 3)), off, pads=[1] * 4))
    y = g.node("Relu", g.node("Add", g.conv(y, (4, 4), (1, 1)), x))
    model = g.model(FREE, [g.conv(y, (4, 2), (1, 1))])
    outcome = collapse(model, data={"x": np.random.default_rng(0).standard_normal((20, 4, 6, 5)).astype(np.float32)})
    assert operators(result_of(outcome)) == {"Conv": 2, "Relu": 2, "Add": 1}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_in_whole_networks(name: str) -> None:
    for seed in range(4):
        model = draw_network(name, seed).model
        tensors = view_from_model(ir.from_proto(model)).tensors
        inputs = {dim.dim_param for info in model.graph.input for dim in info.type.tensor_type.shape.dim} - {""}
        sizes = {symbol: 3 if symbol == "N" else 8 + 4 * at for at, symbol in enumerate(sorted(inputs))}
        names = [output for node in model.graph.node for output in node.output]
        feeds = feeds_for(model, np.random.default_rng(0), sizes)
        del model.graph.output[:]
        model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(value) for value in names)
        for value, array in zip(names, run_runtime(model, feeds), strict=True):
            for size, real in zip(tensors[value].shape or (), array.shape, strict=False):
                assert real == (size if isinstance(size, int) else sizes.setdefault(size or "", real) if size else real)
