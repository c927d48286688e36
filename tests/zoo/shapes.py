"""Sizes, ranks and types: what is stated, what is not, what is empty."""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.zoo.specimen import REFERENCE, RUNTIME, SINCE_1_22, Specimen, builder, normal, paired


def specimens() -> Iterator[Specimen]:
    """One of each."""
    one = {"Conv": 1}
    yield Specimen("fixed sizes", paired(builder(), [2, 3, 6, 5]), one)
    yield Specimen("a dynamic batch", paired(builder(), ["N", 3, 6, 5]), one)
    yield Specimen("dynamic height and width", paired(builder(), ["N", 3, "H", "W"]), one, {"x": normal(2, 3, 7, 6)})
    yield Specimen("sizes without names", _nameless(paired(builder(), ["N", 3, "H", "W"])), one, _image())
    yield Specimen(
        "an unknown rank", _rankless(paired(builder())), {"Conv": 2}, _image(), "the rank of its input is not known"
    )
    yield Specimen("an output without a shape", _shapeless(paired(builder())), one)
    yield Specimen("notes on every value", onnx.shape_inference.infer_shapes(paired(builder())), one)
    yield Specimen("automatic padding", _automatic(), {"Conv": 1})
    yield Specimen("automatic padding with strides", _strided(), {"Conv": 1}, engines=SINCE_1_22)
    yield Specimen("a transposed convolution with a stride", _transposed(), {"ConvTranspose": 1})
    yield Specimen("a batch of none", paired(builder()), one, {"x": normal(0, 3, 6, 5)}, engines=(RUNTIME,))
    yield Specimen("a layer without channels", _without_channels(), {"Gemm": 1}, {"x": normal(2, 4)})
    half, double = (paired(builder(dtype=dtype)) for dtype in ("float16", "double"))
    yield Specimen("float16", half, one, {"x": normal(2, 3, 6, 5, dtype="float16")})
    yield Specimen("double", double, one, {"x": normal(2, 3, 6, 5, dtype="float64")}, engines=(REFERENCE,))
    brain = {"x": normal(2, 4).astype(ml_dtypes.bfloat16)}
    said = {"says": "cannot run g", "options": {"latency": "measured"}}
    yield Specimen("bfloat16, not timed", _bfloat16(), {"MatMul": 1}, brain, engines=(REFERENCE,), **said)


def _image() -> dict[str, np.ndarray]:
    return {"x": normal(2, 3, 6, 5)}


def _nameless(model: onnx.ModelProto) -> onnx.ModelProto:
    for info in (*model.graph.input, *model.graph.output):
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.Clear()
    return model


def _rankless(model: onnx.ModelProto) -> onnx.ModelProto:
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.ClearField("shape")
    return model


def _shapeless(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


def _automatic() -> onnx.ModelProto:
    g = builder()
    padded = g.conv("x", (3, 4), (3, 3), auto_pad="SAME_UPPER")
    return g.model({"x": ["N", 3, 6, 5]}, [g.conv(padded, (4, 2), (1, 1), auto_pad="SAME_LOWER")])


def _strided() -> onnx.ModelProto:
    """How much is padded depends on the sizes; without padding it does not."""
    g = builder()
    padded = g.conv("x", (3, 4), (3, 3), auto_pad="SAME_LOWER", strides=[2, 2])
    return g.model({"x": ["N", 3, 6, 5]}, [g.conv(padded, (4, 2), (2, 2), auto_pad="VALID", strides=[2, 1])])


def _transposed() -> onnx.ModelProto:
    g = builder()
    grown = g.conv("x", (3, 4), (1, 1), bias=False)
    up = g.node("ConvTranspose", grown, g.constant(g.random(4, 2, 2, 2)), strides=[2, 2])
    return g.model({"x": ["N", 3, "H", "W"]}, [g.batch_norm(up, 2)])


def _without_channels() -> onnx.ModelProto:
    """Two products over nothing: zeros, and the bias of the second."""
    g = builder()
    inner = g.node("MatMul", "x", g.constant(np.zeros((4, 0), np.float32)))
    outer = g.node("MatMul", inner, g.constant(np.zeros((0, 3), np.float32)))
    return g.model({"x": ["N", 4]}, [g.node("Add", outer, g.constant(g.random(3)))])


def _bfloat16() -> onnx.ModelProto:
    """onnxruntime has no kernel for it on the CPU."""
    weights = [
        numpy_helper.from_array(normal(*shape).astype(ml_dtypes.bfloat16), name)
        for name, shape in (("w", (4, 8)), ("v", (8, 3)))
    ]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])]
    ports = [helper.make_tensor_value_info(*port) for port in _ports(TensorProto.BFLOAT16)]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _ports(dtype: int) -> list[tuple[str, int, list[int | str]]]:
    return [("x", dtype, ["N", 4]), ("y", dtype, ["N", 3])]
