"""What flows: outputs that are inputs, several users, randomness, and values that are no tensors of numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.zoo.specimen import IMAGE, RUNTIME, Specimen, builder, normal, pair


def specimens() -> Iterator[Specimen]:
    """One of each."""
    yield Specimen("a model that does nothing", _idle(), {"Identity": 1})
    yield Specimen("an input that is an output", _passed(), {"Conv": 1})
    yield Specimen("an unused input", _unused(), {"Conv": 1})
    yield Specimen("a value that is an output too", _tapped(), {"Conv": 2})
    yield Specimen("two outputs from one convolution", _twice(), {"Conv": 2})
    yield Specimen("a rectifier of ten consumers", _ten(), {"Conv": 11, "Add": 9})
    yield Specimen(
        "random numbers with a seed", _random(3.0), {"RandomUniform": 1, "Conv": 1, "Add": 1}, engines=(RUNTIME,)
    )
    yield Specimen("random numbers", _random(None), {"RandomUniform": 1, "Conv": 1, "Add": 1}, engines=(RUNTIME,))
    yield Specimen("an omitted bound", _half_open(), {"Conv": 2, "Clip": 1})
    yield Specimen("sequences", _sequence(), {"Conv": 1, "SequenceConstruct": 1, "SequenceAt": 1})
    yield Specimen("an output that is a sequence", _sequence_out(), {"Conv": 1, "SequenceConstruct": 1})
    yield Specimen("an optional input", _optional(), {"OptionalGetElement": 1, "MatMul": 1})
    yield Specimen(
        "strings",
        _strings(),
        {"Conv": 1, "StringNormalizer": 1},
        {"x": normal(2, 3, 6, 5), "s": np.array(["b", "a"], object)},
    )


def _idle() -> onnx.ModelProto:
    g = builder()
    return g.model({"x": ["N", 4]}, [g.node("Identity", "x")])


def _passed() -> onnx.ModelProto:
    g = builder()
    model = g.model({"x": IMAGE}, [pair(g)])
    model.graph.output.append(model.graph.input[0])
    return model


def _unused() -> onnx.ModelProto:
    g = builder()
    return g.model({"x": IMAGE, "idle": ["N", 2]}, [pair(g)])


def _tapped() -> onnx.ModelProto:
    g = builder()
    inner = g.conv("x", (3, 4), (3, 3))
    return g.model({"x": IMAGE}, [g.conv(inner, (4, 2), (1, 1)), inner])


def _twice() -> onnx.ModelProto:
    """The first convolution goes into both."""
    g = builder()
    inner = g.conv("x", (3, 4), (3, 3))
    return g.model({"x": IMAGE}, [g.conv(inner, (4, 2), (1, 1)), g.conv(inner, (4, 3), (1, 1))])


def _ten() -> onnx.ModelProto:
    g = builder()
    x = g.node("Relu", g.node("Relu", g.conv("x", (3, 4), (3, 3))))
    total, *rest = [g.conv(x, (4, 2), (3, 3), pads=1) for _ in range(10)]
    for one in rest:
        total = g.node("Add", total, g.node("Tanh", one))
    return g.model({"x": IMAGE}, [total])


def _random(seed: float | None) -> onnx.ModelProto:
    g = builder()
    y = pair(g)
    noise = g.node("RandomUniform", shape=[1, 2, 4, 4], **({} if seed is None else {"seed": seed}))
    return g.model({"x": [1, 3, 6, 6]}, [g.node("Add", y, noise)])


def _half_open() -> onnx.ModelProto:
    g = builder()
    y = g.node("Clip", g.conv("x", (3, 4), (3, 3)), "", g.constant(6.0))
    return g.model({"x": IMAGE}, [g.conv(y, (4, 2), (1, 1))])


def _sequence() -> onnx.ModelProto:
    g = builder()
    values = g.node("SequenceConstruct", pair(g), "x")
    g.node("SequenceAt", values, g.constant(np.array(0)), out="y")
    graph = helper.make_graph(
        g.nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, IMAGE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2, "A", "B"])],
        g.initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _sequence_out() -> onnx.ModelProto:
    g = builder()
    g.node("SequenceConstruct", pair(g), "x", out="y")
    graph = helper.make_graph(
        g.nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, IMAGE)],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
        g.initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _optional() -> onnx.ModelProto:
    g = builder()
    inner = g.node("OptionalGetElement", "x")
    g.node("MatMul", g.node("MatMul", inner, g.constant(g.random(4, 5))), g.constant(g.random(5, 2)), out="y")
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", 4])
    graph = helper.make_graph(
        g.nodes,
        "g",
        [helper.make_value_info("x", helper.make_optional_type_proto(tensor))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        g.initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _strings() -> onnx.ModelProto:
    g = builder()
    pair(g, out="y")
    g.node("StringNormalizer", "s", case_change_action="UPPER", out="t")
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, IMAGE),
        helper.make_tensor_value_info("s", TensorProto.STRING, [2]),
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2, 4, 3]),
        helper.make_tensor_value_info("t", TensorProto.STRING, [2]),
    ]
    graph = helper.make_graph(g.nodes, "g", inputs, outputs, g.initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
