"""Local functions, quantised operators, and operators that nobody here knows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from tests.zoo.specimen import IMAGE, RUNTIME, Specimen, builder, imports, normal, pair, parsed

_FUNCTION = """
<ir_version: 9, opset_import: ["" : 17, "own" : 1]>
g (float[N,4] x) => (float[N,3] y) {
  a = own.Twice(x, first)
  y = own.Gate(a, second)
}
<opset_import: ["" : 17], domain: "own">
Twice (x, w) => (z) { h = MatMul(x, w) z = MatMul(h, w) }
<opset_import: ["" : 17], domain: "own">
Gate (x, w) => (z) { s = Sigmoid(x) r = Relu(s) z = MatMul(r, w) }
"""
CALLED_RELU = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[N,4] x) => (float[N,4] y) {
  a = Sigmoid(x)
  y = Relu(a)
}
<opset_import: ["" : 17], domain: "">
Relu (x) => (z) { z = Neg(x) }
"""


def specimens() -> Iterator[Specimen]:
    """One of each."""
    yield Specimen("local functions", functions(), {"Twice": 1, "Gate": 1})
    inlined = {"MatMul": 2, "Sigmoid": 1}
    yield Specimen(
        "local functions, inlined",
        functions(),
        inlined,
        options={"inline_functions": True},
        changes=["function own::", "opsets"],
    )
    yield Specimen("a local function called Relu", parsed(CALLED_RELU), {"Sigmoid": 1})
    qdq = {"QuantizeLinear": 1, "DequantizeLinear": 2, "Conv": 2}
    yield Specimen("quantised convolution", _quantised(), qdq)
    yield Specimen("contrib operator", _contrib(), {"Conv": 1, "Gelu": 1}, engines=(RUNTIME,))
    yield Specimen("operator of an unknown domain", _unknown("com.example"), "com.example")
    yield Specimen("unknown operator of the default domain", _unknown(""), "NoSuchOperator")


def functions() -> onnx.ModelProto:
    """Two, each called once."""
    model = parsed(_FUNCTION)
    for name, shape in (("first", (4, 4)), ("second", (4, 3))):
        model.graph.initializer.append(numpy_helper.from_array(normal(*shape), name))
    return model


def _quantised() -> onnx.ModelProto:
    """Weights dequantised in the model, and a pair on the way."""
    g = builder(opset=19)
    scale, zero = g.constant(0.05), g.constant(np.array(3, np.uint8))
    weight = g.node(
        "DequantizeLinear", g.constant(np.arange(-54, 54).astype(np.int8).reshape(4, 3, 3, 3)), g.constant(0.02)
    )
    x = g.node("Conv", "x", weight)
    x = g.node("DequantizeLinear", g.node("QuantizeLinear", x, scale, zero), scale, zero)
    return g.model({"x": IMAGE}, [g.conv(x, (4, 2), (1, 1))])


def _contrib() -> onnx.ModelProto:
    g = builder()
    y = pair(g)
    model = g.model({"x": IMAGE}, [g.node("Identity", y)])
    model.graph.node[-1].op_type, model.graph.node[-1].domain = "Gelu", "com.microsoft"
    return imports(model, "com.microsoft")


def _unknown(domain: str) -> onnx.ModelProto:
    g = builder()
    y = pair(g)
    model = g.model({"x": IMAGE}, [g.node("Identity", y)])
    model.graph.node[-1].op_type, model.graph.node[-1].domain = "NoSuchOperator", domain
    return imports(model, domain) if domain else model
