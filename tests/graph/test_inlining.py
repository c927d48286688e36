"""Calls of local functions become their operators; everything else stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.graph.inlining import inline_functions
from onnx_nepenthe.graph.interface import compare, interface_of
from onnx_nepenthe.graph.load import load
from onnx_nepenthe.graph.save import save
from tests.helpers.compare import assert_close, operators, run_runtime
from tests.zoo.foreign import CALLED_RELU, functions
from tests.zoo.specimen import fed, normal, parsed

X = {"x": normal(5, 4)}


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    made: onnx.ModelProto = ir.to_proto(inline_functions(ir.from_proto(model)))
    return made


def test_the_numbers_stay_and_the_calls_go() -> None:
    model = functions()
    after = inlined(model)
    onnx.checker.check_model(after, full_check=True)
    assert operators(after) == {"MatMul": 3, "Sigmoid": 1, "Relu": 1}
    assert not after.functions
    assert_close(run_runtime(after, X), run_runtime(model, X), 1e-6)


def test_the_interface_stays_but_for_the_functions() -> None:
    model = functions()
    model.doc_string, model.producer_name = "a note", "zoo"
    model.metadata_props.add(key="kept", value="yes")
    model.graph.doc_string = "another"
    found = compare(interface_of(ir.from_proto(model)), interface_of(ir.from_proto(inlined(model))))
    assert all(line.startswith(("function own::", "opsets changed")) for line in found), found


def test_weights_that_a_caller_may_feed_stay_inputs() -> None:
    after = inlined(fed(functions()))
    assert [value.name for value in after.graph.input] == ["x", "first", "second"]
    assert [tensor.name for tensor in after.graph.initializer] == ["first", "second"]


def test_weights_in_files_stay_there(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save(ir.from_proto(functions()), path, external_above_bytes=0)
    after = inline_functions(load(path))
    assert [type(value.const_value) for value in after.graph.initializers.values()] == [
        type(value.const_value) for value in load(path).graph.initializers.values()
    ]


def test_a_function_of_an_older_opset_is_brought_up_to_date() -> None:
    text = """
    <ir_version: 9, opset_import: ["" : 17, "own" : 1]>
    g (float[N,4] x) => (float[N,1] y) { y = own.Mean(x) }
    <opset_import: ["" : 12], domain: "own">
    Mean (a) => (c) { b = ReduceSum<axes: ints = [1]>(a) c = Neg(b) }
    """
    after = inlined(parsed(text))
    assert_close(run_runtime(after, X), [-X["x"].sum(axis=1, keepdims=True)], 1e-5)


def test_a_function_called_like_an_operator_is_not_called() -> None:
    model = parsed(CALLED_RELU)
    after = inlined(model)
    assert operators(after) == {"Sigmoid": 1, "Relu": 1}
    assert_close(run_runtime(after, X), run_runtime(model, X), 0.0)


def test_what_cannot_be_inlined_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("too\ndeep")

    monkeypatch.setattr(onnx.inliner, "inline_local_functions", fail)
    with pytest.raises(UnsupportedError, match="cannot be inlined: too deep"):
        inlined(functions())


def test_subgraphs_with_calls() -> None:
    text = """
    <ir_version: 9, opset_import: ["" : 17, "own" : 1]>
    g (float[N,4] x, bool flag) => (float[N,4] y) {
      y = If (flag) < then_branch = t () => (a) { a = own.Twice(x) }, else_branch = e () => (b) { b = Neg(x) } >
    }
    <opset_import: ["" : 17], domain: "own">
    Twice (a) => (b) { b = Add(a, a) }
    """
    after = inlined(parsed(text))
    assert_close(run_runtime(after, X | {"flag": np.array(True)}), [2 * X["x"]], 0.0)
