"""Operators changed where they stand keep their names and their results."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.inplace import forget_shape, set_attribute, set_operand
from tests.helpers.build import Builder


def editor() -> Editor:
    g = Builder(np.random.default_rng(3))
    out = g.node("Conv", "x", g.constant(g.random(4, 3, 1, 1), "weight"), out="y")
    return Editor(ir.from_proto(g.model({"x": ["N", 3, 5, 5]}, [out])))


def test_an_operand_is_exchanged_or_added() -> None:
    edit = editor()
    y = edit.value("y")
    set_operand(y, 1, edit.constant("other", np.ones((4, 3, 1, 1)), "float"))
    set_operand(y, 2, edit.constant("bias", np.ones(4), "float"))
    model = edit.finish()
    (node,) = model.graph
    assert [value.name for value in node.inputs if value is not None] == ["x", "other", "bias"]
    assert [value.name for value in node.outputs] == ["y"]
    assert set(model.graph.initializers) == {"other", "bias"}


def test_an_attribute_and_a_shape() -> None:
    edit = editor()
    set_attribute(edit.value("y"), "group", 3)
    forget_shape(edit.value("y"))
    (node,) = edit.finish().graph
    assert node.attributes["group"].value == 3
    assert node.outputs[0].shape is None


def test_inputs_have_no_operator() -> None:
    edit = editor()
    with pytest.raises(ValueError, match="no operator makes 'x'"):
        set_operand(edit.value("x"), 0, edit.value("x"))
    with pytest.raises(ValueError, match="no operator makes 'x'"):
        set_attribute(edit.value("x"), "group", 3)
