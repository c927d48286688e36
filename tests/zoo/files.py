"""Versions, names and notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx

from tests.helpers.compare import RuntimeRefusal, run_runtime
from tests.zoo.specimen import BOTH, IMAGE, REFERENCE, Specimen, builder, normal, paired

_IDLE = "g (float[1] x) => (float[1] y) { y = Identity(x) }"


def engines(opset: int, ir_version: int) -> Sequence[str]:
    """onnx.reference alone where this onnxruntime does not know the version."""
    model = onnx.parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["" : {opset}]> {_IDLE}')
    try:
        run_runtime(model, {"x": normal(1)})
    except RuntimeRefusal:
        return (REFERENCE,)
    return BOTH


def specimens() -> Iterator[Specimen]:
    """One of each."""
    one = {"Conv": 1}
    for opset in range(7, onnx.defs.onnx_opset_version() + 1):
        yield Specimen(f"opset {opset}", _normed(opset), one, engines=engines(opset, 9))
    for version in range(3, onnx.IR_VERSION + 1):
        model = paired(builder(opset=9, ir_version=version))
        yield Specimen(f"IR {version}", model, one, engines=engines(9, version))
    yield Specimen("opset 6", paired(builder(opset=6)), "older than 7")
    yield Specimen("nodes without names", _named(""), one)
    yield Specimen("nodes of one name", _named("conv"), one, engines=(REFERENCE,))
    yield Specimen("metadata and notes", _noted(), one)


def _normed(opset: int) -> onnx.ModelProto:
    g = builder(opset)
    y = g.batch_norm(g.conv("x", (3, 4), (3, 3)), 4)
    return g.model({"x": IMAGE}, [g.conv(y, (4, 2), (1, 1))])


def _named(name: str) -> onnx.ModelProto:
    model = paired(builder())
    for node in model.graph.node:
        node.name = name
    return model


def _noted() -> onnx.ModelProto:
    """On everything that can carry them."""
    model = paired(builder(ir_version=10))
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        part.doc_string = "a note"
        part.metadata_props.add(key="kept", value="yes")
    model.producer_name, model.producer_version, model.domain, model.model_version = "zoo", "1", "example", 5
    return model
