"""Reductions inside a graph against numpy, for every place of the channels, known and unknown sizes."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.reductions import FLOAT, Reducer
from onnx_nepenthe.session import SessionConfig, open_session

CASES = [
    ((6, 3), 1),
    ((6, 3), 0),
    ((7,), 0),
    ((2, 3, 5), 1),
    ((2, 5, 3), 2),
    ((2, 4, 5, 3), 3),
    ((2, 4, 3, 5), 2),
    ((2, 3, 4, 5), 1),
    ((2, 3, 64, 32), 1),
    ((2, 3, 1031), 1),
    ((2, 2, 3, 1024), 2),
    ((2, 2, 2, 2, 3), 4),
    ((2, 3, 5), None),
]


def reduced(shape: tuple[int, ...], stated: Any, opset: int, **options: Any) -> tuple[list[Any], Any, list[str]]:
    """Counts of x > 0, minimum and sum; x; and the operators used."""
    x = np.random.default_rng(0).integers(-3, 4, shape).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", 1, stated)],
        [helper.make_tensor_value_info("y", 1, None)],
    )
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])
    editor = Editor(ir.from_proto(proto))
    z = editor.value("x")
    reducer = Reducer(editor, None if z.shape is None else stated, hint="r", **options)
    positive = editor.node("Greater", [z, editor.constant("zero", 0.0, "float")], hint="r")
    names = [reducer.count(positive), reducer.reduce("ReduceMin", z, FLOAT), reducer.total(z)]
    model = editor.finish()
    results = open_session(model, SessionConfig(threads=1)).run({"x": x}, names)
    return results, x, [node.op_type for node in model.graph]


@pytest.mark.parametrize(("shape", "axis"), CASES)
@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    ("opset", "wide", "bytewise"), [(9, False, True), (13, True, True), (18, False, True), (18, False, False)]
)
def test_reductions_are_those_of_numpy(
    shape: tuple[int, ...], axis: int | None, rows: bool, known: bool, opset: int, wide: bool, bytewise: bool
) -> None:
    rows = rows and axis != 0
    stated = shape if known else tuple(f"d{at}" for at in range(len(shape)))
    options = {"axis": axis, "rows": rows, "wide": wide, "bytewise": bytewise}
    (count, low, total), x, _ = reduced(shape, stated, opset, **options)
    kept = {axis, 0 if rows else None}
    axes = tuple(at for at in range(len(shape)) if at not in kept)
    np.testing.assert_array_equal(count, (x > 0).sum(axis=axes))
    np.testing.assert_array_equal(low, x.min(axis=axes))
    np.testing.assert_array_equal(total, x.sum(axis=axes, dtype=np.float64))
    assert total.dtype == np.float64
    assert count.dtype in ({np.dtype(np.int64)} if wide else {np.dtype(np.int32), np.dtype(np.float32)})


@pytest.mark.parametrize(("opset", "bytewise", "expected"), [(9, True, False), (10, True, True), (18, False, False)])
def test_bytes_are_counted_where_the_operator_exists(opset: int, bytewise: bool, expected: bool) -> None:
    options = {"axis": 1, "rows": False, "wide": False, "bytewise": bytewise}
    operators = reduced((2, 3, 4, 5), ("N", 3, 4, 5), opset, **options)[2]
    assert ("MatMulInteger" in operators) is expected


def test_many_bytes_in_a_row_are_averaged_in_parts_that_a_byte_can_count() -> None:
    options = {"axis": 1, "rows": False, "wide": False, "bytewise": True}
    (count, _, _), x, operators = reduced((2, 3, 48, 48), ("N", 3, 48, 48), 18, **options)
    assert "QLinearGlobalAveragePool" in operators
    np.testing.assert_array_equal(count, (x > 0).sum(axis=(0, 2, 3)))
    for shape, stated in (((2, 3, 14, 14), ("N", 3, 14, 14)), ((2, 3, 48, 48), ("N", 3, "h", "w"))):
        assert "MatMulInteger" in reduced(shape, stated, 18, **options)[2]


def test_parts_that_are_full_are_counted_exactly() -> None:
    """255 of 255, the largest byte."""
    x = np.ones((1, 2, 255 * 5), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", 1, x.shape)],
        [helper.make_tensor_value_info("y", 1, None)],
    )
    editor = Editor(ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)))
    reducer = Reducer(editor, x.shape, 1, rows=False, wide=False, bytewise=True, hint="r")
    name = reducer.count(editor.node("Greater", [editor.value("x"), editor.constant("k", 0.0, "float")], hint="r"))
    (count,) = open_session(editor.finish(), SessionConfig(threads=1)).run({"x": x}, [name])
    assert count.tolist() == [1275, 1275]
