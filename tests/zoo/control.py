"""Branches, loops and scans with convolutions inside; values and weights captured from outside."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from tests.zoo.specimen import RUNTIME, SINCE_1_22, Specimen, fed, normal, parsed

_IF = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[N,3,6,5] x, bool flag) => (float[N,3,6,5] y) {
  y = If (flag) <
    then_branch = t () => (float[N,3,6,5] a) { b = Conv(x, grow) a = Conv(b, shrink) },
    else_branch = e () => (float[N,3,6,5] c) { d = Conv(x, swap) e = Sigmoid(d) f = Relu(e) c = Conv(f, swap) }
  >
}
"""
_LOOP = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[N,3,6,5] x, int64 turns) => (float[N,3,6,5] y, float[T,N,3,6,5] all) {
  go = Constant<value_int: int = 1>()
  bool_go = Cast<to: int = 9>(go)
  y, all = Loop (turns, bool_go, x) <
    body = b (int64 i, bool again, float[N,3,6,5] s) => (bool more, float[N,3,6,5] t, float[N,3,6,5] u) {
      more = Identity(again)
      v = Conv(s, grow)
      t = Conv(v, shrink)
      u = Tanh(t)
    }
  >
}
"""
_READS = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[N,3,6,5] x, int64 turns) => (float[N,3,6,5] y, float[N,3,6,5] z) {
  go = Constant<value_int: int = 1>()
  bool_go = Cast<to: int = 9>(go)
  p = Conv(x, grow)
  q = Conv(p, shrink)
  z = Conv(q, swap)
  y = Loop (turns, bool_go, x) <
    body = b (int64 i, bool again, float[N,3,6,5] s) => (bool more, float[N,3,6,5] t) {
      more = Identity(again)
      r = Conv(s, swap)
      t = Add(r, q)
    }
  >
}
"""
_SCAN = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[N,4] s, float[T,N,4] x) => (float[N,4] last, float[T,N,4] y) {
  last, y = Scan <num_scan_inputs: int = 1,
    body = b (float[N,4] before, float[N,4] now) => (float[N,4] after, float[N,4] out) {
      after = Add(before, now)
      h = MatMul(after, wide)
      o = MatMul(h, slim)
      out = Add(o, shift)
    }
  > (s, x)
}
"""
_NESTED = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[N,3,6,5] x, int64 turns) => (float[N,3,6,5] y) {
  go = Constant<value_int: int = 1>()
  bool_go = Cast<to: int = 9>(go)
  one = Constant<value_int: int = 1>()
  y = Loop (turns, bool_go, x) <
    body = b (int64 i, bool again, float[N,3,6,5] s) => (bool more, float[N,3,6,5] t) {
      more = Identity(again)
      first = Less(i, one)
      t = If (first) <
        then_branch = n () => (float[N,3,6,5] a) { b = Conv(s, grow) a = Conv(b, shrink) },
        else_branch = e () => (float[N,3,6,5] c) { d = Conv(x, swap) c = Conv(d, swap) }
      >
    }
  >
}
"""
BLOCKS = {"If": _IF, "Loop": _LOOP, "reading Loop": _READS, "Scan": _SCAN, "If in a Loop": _NESTED}
SHAPES = {
    "grow": (4, 3, 1, 1),
    "shrink": (3, 4, 1, 1),
    "swap": (3, 3, 1, 1),
    "wide": (4, 16),
    "slim": (16, 4),
    "shift": (4,),
}


def specimens() -> Iterator[Specimen]:
    """One of each."""
    flags = [{"x": normal(2, 3, 6, 5), "flag": np.array(flag)} for flag in (True, False)]
    branches = {"If": 1, "Conv": 3, "Sigmoid": 1}
    for feeds in flags:
        yield Specimen(f"If with weights inside, {feeds['flag']}", inside(_IF), branches, feeds)
        yield Specimen(f"If with captured weights, {feeds['flag']}", outside(_IF), branches, feeds)
    stays = {"If": 1, "Conv": 4, "Sigmoid": 1}
    yield Specimen("If with weights that a caller may feed", fed(outside(_IF)), stays, flags[0])
    yield Specimen("If before IR 4", _old(fed(outside(_IF))), stays | {"Relu": 1}, flags[0])
    turns = {"x": normal(2, 3, 6, 5), "turns": np.array(3)}
    loop = {"Loop": 1, "Conv": 1, "Tanh": 1, "Identity": 1}
    yield Specimen("Loop", inside(_LOOP), loop, turns)
    yield Specimen(
        "Loop with captured weights, no turn", outside(_LOOP), loop, turns | {"turns": np.array(0)}, engines=(RUNTIME,)
    )
    yield Specimen(
        "Loop that reads a value inside a region",
        outside(_READS),
        {"Loop": 1, "Conv": 3, "Add": 1, "Identity": 1},
        turns,
    )
    scan = {"Scan": 1, "Gemm": 1, "Add": 1}
    scanned = {"x": normal(3, 2, 4), "s": normal(2, 4)}
    yield Specimen("Scan", inside(_SCAN), scan, scanned)
    yield Specimen("Scan with captured weights", outside(_SCAN), scan, scanned, engines=SINCE_1_22)
    yield Specimen("If in a Loop", outside(_NESTED), {"Loop": 1, "If": 1, "Conv": 2, "Identity": 1, "Less": 1}, turns)


def outside(text: str) -> onnx.ModelProto:
    """With its weights in the main graph."""
    model = parsed(text)
    model.graph.initializer.extend(_tensors(text))
    return model


def inside(text: str) -> onnx.ModelProto:
    """With its weights in the body that uses them first."""
    model = parsed(text)
    waiting = {tensor.name: tensor for tensor in _tensors(text)}
    _hand_out(model.graph, waiting)
    return model


def _tensors(text: str) -> list[onnx.TensorProto]:
    rng = np.random.default_rng(11)
    return [
        numpy_helper.from_array((rng.standard_normal(shape) / 2).astype(np.float32), name)
        for name, shape in SHAPES.items()
        if name in text.replace(",", " ").replace(")", " ").replace("(", " ").split()
    ]


def _hand_out(graph: onnx.GraphProto, waiting: dict[str, onnx.TensorProto]) -> None:
    for node in graph.node:
        graph.initializer.extend(waiting.pop(name) for name in node.input if name in waiting)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _hand_out(attribute.g, dict(waiting))


def _old(model: onnx.ModelProto) -> onnx.ModelProto:
    model.ir_version = 3
    return model
