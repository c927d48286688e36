"""Pictures of what a rewrite replaces: the operators between two values, and nothing else."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.sketch import Drawn, Sketch, sketch
from tests.helpers.build import Builder


def residual() -> GraphView:
    """x → Conv → Relu → Conv, added to the Relu's result; beside it a Sigmoid of x."""
    g = Builder(np.random.default_rng(0))
    start = g.node("Relu", g.conv("x", (3, 4), (1, 1)), out="start")
    y = g.node("Add", g.conv(start, (4, 4), (3, 3), pads=1), start, out="y")
    model = g.model({"x": ["N", 3, 8, 8]}, [y, g.node("Sigmoid", "x", out="z")])
    return view_from_model(ir.from_proto(model))


def labels(view: GraphView) -> list[str]:
    return [op.label for op in view.ops]


def test_the_operators_between_two_values_come_with_shapes_and_weights() -> None:
    view = residual()
    found = sketch(view, "start", "y", labels(view))
    conv, add = found.operators
    assert (conv.op, conv.inputs, conv.shape, conv.weight) == ("Conv", ("start",), ("N", 4, 8, 8), (4, 4, 3, 3))
    assert (add.op, add.inputs, add.output, add.weight) == ("Add", (conv.output, "start"), "y", ())
    assert found.shape == ("N", 4, 8, 8)


def test_only_the_operators_that_are_replaced_are_drawn() -> None:
    view = residual()
    conv, relu, second, add, _ = labels(view)
    assert [d.label for d in sketch(view, "x", "y", labels(view)).operators] == [conv, relu, second, add]
    assert [d.label for d in sketch(view, "x", "y", [second, add]).operators] == [second, add]


def test_a_value_of_another_graph_has_no_picture() -> None:
    view = residual()
    assert sketch(view, "x", "made by an earlier step", labels(view)).operators == ()
    assert sketch(view, "made by an earlier step", "x", labels(view)) == Sketch((), None)
    assert Drawn("a", "Relu", ("x",), "y", None).weight == ()
