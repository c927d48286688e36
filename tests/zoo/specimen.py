"""What a row of the zoo is: a small model with one difficulty, and what becomes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper
from packaging.version import Version

from tests.helpers.build import Array, Builder, Dims

REFERENCE, RUNTIME = "onnx.reference", "onnxruntime"
BOTH = (RUNTIME, REFERENCE)
SINCE_1_22 = BOTH if Version(onnx.__version__) >= Version("1.22") else (RUNTIME,)
"""Before onnx 1.22, onnx.reference pads as if there were no strides, and a Scan in it sees no weights outside."""
IMAGE = ("N", 3, 6, 5)


@dataclass(frozen=True, eq=False)
class Specimen:
    """One difficulty.

    Attributes:
        name: the difficulty.
        model: small.
        becomes: how often each operator is in the result, bodies of subgraphs included; words of the error that
            refuses the model.
        feeds: what it is run on; None for random numbers.
        says: words that must be among the refusals of the report.
        options: of the run.
        engines: that can run it.
        changes: how lines begin that say what a caller sees change.
    """

    name: str
    model: onnx.ModelProto
    becomes: Mapping[str, int] | str
    feeds: Mapping[str, Array] | None = None
    says: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    engines: Sequence[str] = BOTH
    changes: Sequence[str] = ()


def builder(opset: int = 17, ir_version: int = 9, dtype: str = "float") -> Builder:
    """With fixed random weights."""
    return Builder(np.random.default_rng(7), dtype=dtype, opset=opset, ir_version=ir_version)


def pair(g: Builder, x: str = "x", out: str = "") -> str:
    """Two convolutions that are one."""
    inner = g.conv(x, (3, 4), (3, 3))
    weight, bias = g.constant(g.random(2, 4, 1, 1)), g.constant(g.random(2))
    return g.node("Conv", inner, weight, bias, out=out or g.fresh("v"))


def paired(g: Builder, dims: Dims = IMAGE) -> onnx.ModelProto:
    """Two convolutions and nothing else."""
    return g.model({"x": dims}, [pair(g)])


def normal(*shape: int, dtype: str = "float32") -> Array:
    """Seeded numbers."""
    return np.random.default_rng(3).standard_normal(shape).astype(dtype)


def imports(model: onnx.ModelProto, domain: str, version: int = 1) -> onnx.ModelProto:
    """`model`, which may now use the operators of `domain`."""
    model.opset_import.append(helper.make_opsetid(domain, version))
    return model


def parsed(text: str) -> onnx.ModelProto:
    """A model from ONNX's own notation."""
    return onnx.parser.parse_model(text)


def fed(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with its weights as inputs too."""
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return model


def operators_in(model: onnx.ModelProto) -> dict[str, int]:
    """How often each operator occurs, in bodies too, weights left out."""
    return dict(Counter(node.op_type for node in _nodes(model.graph) if node.op_type != "Constant"))


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)
