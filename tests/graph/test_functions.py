"""Operators against their definitions, and functions that call functions."""

from __future__ import annotations

import time

import onnx
import pytest

from onnx_nepenthe.errors import NepentheError, UnreadableError
from onnx_nepenthe.graph import functions
from onnx_nepenthe.graph.functions import check_functions
from onnx_nepenthe.graph.load import model_from_proto

HEADER = '<ir_version: 9, opset_import: ["" : 17, "own" : 1]>'
FUNCTION = '<domain: "own", opset_import: ["" : 17, "own" : 1]>'


def model(body: str, *rest: str, inputs: str = "float[N] x") -> onnx.ModelProto:
    text = f"{HEADER} g ({inputs}) => (float[N] y) {{ {body} }} " + " ".join(FUNCTION + each for each in rest)
    return onnx.parser.parse_model(text)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Add(x)", "Add '' has 1 operands where the operator has 2"),
        ("y = Relu(x, x)", "Relu '' has 2 operands where the operator has 1"),
        ("y = Clip(x, x, x, x)", "Clip '' has 4 operands where the operator has 1 to 3"),
        ("y = Sum()", "Sum '' has 0 operands where the operator has at least 1"),
        ("y, z = Relu(x)", "Relu '' has 2 results where the operator has 1"),
        ('y = Add(x, "")', "Add '' lacks its operand 'B'"),
        ("y = Concat(x, x)", "Concat '' lacks its attribute 'axis'"),
        ('y = Concat <axis = "one"> (x, x)', "Concat '' has the attribute 'axis' as STRING, not INT"),
        ("y = Softmax <axis = 1.0> (x)", "Softmax '' has the attribute 'axis' as FLOAT, not INT"),
        (
            "c = Cast <to = 9> (x) y = If (c) <then_branch = t () => (float[N] a) { a = Add(x) },"
            " else_branch = e () => (float[N] b) { b = Relu(x) }>",
            "Add '' has 1 operands",
        ),
    ],
)
def test_operators_that_break_their_definition(body: str, expected: str) -> None:
    proto = model(body)
    for node in proto.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = "" if name == '""' else name
    with pytest.raises(UnreadableError) as caught:
        model_from_proto(proto)
    assert expected in str(caught.value)


def test_an_attribute_that_is_there_twice() -> None:
    proto = model("y = Softmax <axis = 0> (x)")
    proto.graph.node[0].attribute.append(proto.graph.node[0].attribute[0])
    with pytest.raises(NepentheError, match="Softmax '' has the attribute 'axis' twice"):
        model_from_proto(proto)


@pytest.mark.parametrize("body", ["y = own.Add(x)", "y = other.Relu(x, x, x)", "y = Nobody <a = 1> (x, x)"])
def test_operators_that_onnx_does_not_define_may_be_anything(body: str) -> None:
    check_functions(model(body))


def test_a_function_may_stand_for_an_operator_of_onnx() -> None:
    proto = model("y = own.f(x)", "f (a) => (b) { b = Relu(a) }")
    proto.functions[0].name = "Add"
    proto.functions[0].domain = ""
    proto.graph.node[0].op_type = "Add"
    proto.graph.node[0].domain = ""
    check_functions(proto)


def test_operators_in_functions_are_checked_by_their_opset() -> None:
    with pytest.raises(UnreadableError, match="Relu '' has 2 operands"):
        check_functions(model("y = own.f(x)", "f (a) => (b) { b = Relu(a, a) }"))


@pytest.mark.parametrize(
    "bodies",
    [
        ["f (a) => (b) { b = own.f(a) }"],
        ["f (a) => (b) { b = own.g(a) }", "g (a) => (b) { c = Relu(a) b = own.f(c) }"],
        [
            "f (a) => (b) { c = Cast <to = 9> (a) b = If (c) <then_branch = t () => (d) { d = own.f(a) },"
            " else_branch = e () => (d) { d = Relu(a) }> }"
        ],
    ],
    ids=["itself", "another", "in a body"],
)
def test_functions_that_call_themselves(bodies: list[str]) -> None:
    with pytest.raises(UnreadableError, match="of domain 'own' calls itself"):
        check_functions(model("y = own.f(x)", *bodies))


def test_a_function_that_is_there_twice() -> None:
    body = "f (a) => (b) { b = Relu(a) }"
    with pytest.raises(UnreadableError, match="defines the function 'f' of domain 'own' twice"):
        check_functions(model("y = own.f(x)", body, body))


def test_a_few_functions_that_stand_for_a_thousand_million_operators() -> None:
    bodies = ["f0 (a) => (b) { b = Relu(a) }"]
    bodies += [f"f{at} (a) => (b) {{ c = own.f{at - 1}(a) b = own.f{at - 1}(c) }}" for at in range(1, 200)]
    start = time.monotonic()
    with pytest.raises(UnreadableError, match="its functions stand for more than 4,194,304 operators"):
        check_functions(model("y = own.f199(x)", *bodies))
    assert time.monotonic() - start < 10
    check_functions(model("y = own.f20(x)", *bodies[:21]))


def test_calls_are_followed_as_deep_as_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deeper than Python's stack."""
    bodies = ["f0 (a) => (b) { b = Relu(a) }"]
    bodies += [f"f{at} (a) => (b) {{ b = own.f{at - 1}(a) }}" for at in range(1, 1500)]
    proto = model("y = own.f1499(x)", *bodies)
    check_functions(proto)
    monkeypatch.setattr(functions, "LARGEST_EXPANSION", 0)
    with pytest.raises(UnreadableError, match="more than 0 operators"):
        check_functions(proto)
