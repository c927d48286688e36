"""Shapes follow from the inputs; what a file says of other values is believed only where nothing else is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.graph.view import view_from_model
from tests.helpers.build import Builder
from tests.helpers.compare import assert_close, operators, run_runtime
from tests.helpers.exact import collapse_exact
from tests.helpers.unharmed import builder

Make = Callable[[Builder], str]


def out_of_date(make: Make) -> onnx.ModelProto:
    """A model whose values were noted for (1, 4, 6, 5), before its input was set free."""
    g = builder()
    model = g.model({"x": [1, 4, 6, 5]}, [make(g)])
    model.graph.value_info.extend(onnx.shape_inference.infer_shapes(model).graph.value_info)
    for dim, symbol in zip(model.graph.input[0].type.tensor_type.shape.dim, ("N", "", "H", "W"), strict=True):
        if symbol:
            dim.dim_param = symbol
    return model


FREED: dict[str, Make] = {
    "border": lambda g: g.conv(g.conv(g.node("Relu", "x"), (4, 3), (1, 1)), (3, 2), (3, 3), pads=1),
    "pool over everything": lambda g: g.node(
        "AveragePool", g.conv(g.node("Relu", "x"), (4, 3), (1, 1)), kernel_shape=[6, 5]
    ),
    "constant along the width": lambda g: g.node(
        "Mul", g.conv(g.node("Relu", "x"), (4, 3), (1, 1)), g.constant(g.positive(1, 5))
    ),
    "part of the height": lambda g: g.node(
        "Slice", g.node("Relu", "x"), *(g.constant(np.array([n])) for n in (1, 6, 2))
    ),
    "automatic padding": lambda g: g.batch_norm(
        g.conv(g.node("Relu", "x"), (4, 3), (3, 3), auto_pad="SAME_UPPER", strides=[2, 2]), 3
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FREED)
def test_notes_that_are_out_of_date_decide_nothing(name: str) -> None:
    before = out_of_date(FREED[name])
    after = collapse_exact(before)
    sizes = [(2, 4, 6, 5), (1, 4, 9, 5)] + ([] if name == "constant along the width" else [(1, 4, 9, 8)])
    for size in sizes:
        feeds = {"x": np.random.default_rng(1).standard_normal(size).astype(np.float32)}
        assert_close(run_runtime(after, feeds), run_runtime(before, feeds), 1e-5)


def shapes(text: str) -> dict[str, object]:
    view = view_from_model(ir.from_proto(onnx.parser.parse_model(text)))
    return {name: tensor.shape for name, tensor in view.tensors.items()}


def test_what_cannot_be_inferred_is_believed() -> None:
    """An operator ONNX does not know; what follows is inferred from its note."""
    known = shapes("""<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
        g (float[N, 3] x) => (float[N, 7] y) <float[N, 7] a> { a = own.Thing (x)  b = Relu (a)  y = Neg (b) }""")
    assert known["a"] == known["b"] == ("N", 7)


def test_single_sizes_are_believed_when_every_input_is_fixed() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[{n}, 3] x, int64[2] s) => (float[2, 6] y) <float[2, 6] a> {{ a = Reshape (x, s)  y = Relu (a) }}"""
    assert shapes(text.format(n=4))["a"] == (2, 6)
    assert shapes(text.format(n="N"))["a"] != (2, 6)


def test_what_is_inferred_wins() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 3] x) => (float[N, 3] y) <float[1, 3] a> { a = Relu (x)  y = Neg (a) }"""
    assert shapes(text)["a"] == ("N", 3)


def test_the_model_keeps_its_notes() -> None:
    model = ir.from_proto(out_of_date(FREED["border"]))
    view_from_model(model)
    assert [value.shape for node in model.graph for value in node.outputs] == [[1, 4, 6, 5], [1, 3, 6, 5], [1, 2, 6, 5]]


def test_a_border_of_open_size_takes_a_plane_of_ones() -> None:
    assert operators(collapse_exact(out_of_date(FREED["border"])))["ConstantOfShape"] == 1
