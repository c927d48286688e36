"""What flows: outputs that are inputs, several users, randomness, and values that are no tensors of numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnx_nepenthe.sources import SourceOptions
from tests.helpers.build import Builder, Dims
from tests.zoo.specimen import IMAGE, RUNTIME, Specimen, builder, normal, pair


def specimens() -> Iterator[Specimen]:
    """One of each."""
    one = {"Conv": 1}
    yield Specimen("a model that does nothing", _idle(), {"Identity": 1})
    yield Specimen("an input that is an output", _passed(), one)
    yield Specimen("an unused input", _unused(), one)
    yield Specimen("a value that is an output too", _tapped(), {"Conv": 2})
    yield Specimen("one convolution for two outputs", _twice(), {"Conv": 2})
    yield Specimen("one value as two outputs", _doubled(), one | {"Identity": 1})
    ten = {"Conv": 11, "Relu": 1, "Tanh": 9, "Add": 9}
    yield Specimen("a rectifier of ten consumers", _ten(), ten)
    yield Specimen("a shift behind a skip", _shifted_skip(), one | {"Sigmoid": 1, "Add": 1})
    noisy = {"RandomUniform": 1, "Conv": 1, "Add": 1}
    yield Specimen("random numbers with a seed", _random(3.0), noisy, engines=(RUNTIME,))
    yield Specimen("random numbers", _random(None), noisy, engines=(RUNTIME,))
    yield Specimen("an omitted bound", _half_open(), {"Conv": 2, "Clip": 1}, says="no proof without data")
    yield Specimen("a sequence inside", _sequence(), one | {"SequenceConstruct": 1, "SequenceAt": 1})
    yield Specimen("a sequence as output", _sequence_out(), one | {"SequenceConstruct": 1})
    yield Specimen("an optional inside", _optional_inside(), one | {"Optional": 1, "OptionalGetElement": 1})
    yield Specimen("an optional as input", _optional_in(), "input x has type optional(tensor(float))")
    yield Specimen("strings without data", _strings(), "input s has type string")
    feeds = {"x": normal(2, 3, 6, 5), "s": np.array(["b", "a"], object)}
    told = {"data": lambda: [feeds], "source": SourceOptions(whole_feeds=True)}
    yield Specimen("strings", _strings(), one | {"StringNormalizer": 1}, feeds, options=told)


def _idle() -> onnx.ModelProto:
    g = builder()
    return g.model({"x": ["N", 4]}, [g.node("Identity", "x")])


def _shifted_skip() -> onnx.ModelProto:
    g = builder()
    total = g.node("Add", g.conv(g.node("Sigmoid", "x"), (3, 3), (3, 3), pads=1), "x")
    return g.model({"x": IMAGE}, [g.node("Add", total, g.constant(g.random(3, 1, 1)))])


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


def _doubled() -> onnx.ModelProto:
    g = builder()
    y = pair(g)
    return g.model({"x": IMAGE}, [y, g.node("Identity", y)])


def _sequence() -> onnx.ModelProto:
    g = builder()
    values = g.node("SequenceConstruct", pair(g), "x")
    g.node("SequenceAt", values, g.constant(np.array(0)), out="y")
    return _finished(g, [_image("x", IMAGE)], [_image("y", None)])


def _sequence_out() -> onnx.ModelProto:
    g = builder()
    g.node("SequenceConstruct", pair(g), "x", out="y")
    return _finished(g, [_image("x", IMAGE)], [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)])


def _optional_inside() -> onnx.ModelProto:
    g = builder()
    g.node("OptionalGetElement", g.node("Optional", pair(g)), out="y")
    return _finished(g, [_image("x", IMAGE)], [_image("y", None)])


def _optional_in() -> onnx.ModelProto:
    g = builder()
    pair(g, g.node("OptionalGetElement", "x"), out="y")
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, IMAGE))
    return _finished(g, [helper.make_value_info("x", kind)], [_image("y", None)])


def _strings() -> onnx.ModelProto:
    g = builder()
    pair(g, out="y")
    g.node("StringNormalizer", "s", case_change_action="UPPER", locale="C", out="t")
    words = [helper.make_tensor_value_info(name, TensorProto.STRING, [2]) for name in "st"]
    return _finished(g, [_image("x", IMAGE), words[0]], [_image("y", None), words[1]])


def _image(name: str, dims: Dims | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


def _finished(g: Builder, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
    graph = helper.make_graph(g.nodes, "g", inputs, outputs, g.initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", g.opset)], ir_version=g.ir_version)
