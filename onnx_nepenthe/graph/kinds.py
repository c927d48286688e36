"""What callers hold a model in: a path, a ModelProto, an onnx_ir Model, a graphsurgeon Graph or torch's ONNXProgram."""

from __future__ import annotations

import enum
import os
from typing import Any

import onnx
import onnx_ir as ir

from onnx_nepenthe.errors import UnreadableError, UsageError
from onnx_nepenthe.graph.load import load, model_from_proto
from onnx_nepenthe.graph.structure import check_opset, subgraphs_of

AnyModel = str | os.PathLike[str] | onnx.ModelProto | ir.Model | Any
"""The last alternative is `onnx_graphsurgeon.Graph` or `torch.onnx.ONNXProgram`, which need not be installed."""


class Kind(enum.Enum):
    """What a model came in as, and so goes out as; but for a PROGRAM, which holds what torch traced, a ModelProto does.

    GRAPHSURGEON cannot carry metadata_props (of the model, the graph, nodes or values), doc strings of nodes
    and values, the model's domain and version, function overloads, dimension denotations, quantization
    annotations, or that a weight is also an input; its owner has lost them before we see the graph.
    """

    PATH = "path"
    PROTO = "ModelProto"
    IR = "onnx_ir.Model"
    GRAPHSURGEON = "onnx_graphsurgeon.Graph"
    PROGRAM = "torch.onnx.ONNXProgram"


def to_ir(model: AnyModel) -> tuple[ir.Model, Kind]:
    """A model of our own to work on, and what `model` was; `model` is never changed.

    Raises:
        UnreadableError, UnsupportedError: as `load`.
        UsageError: not one of these kinds.
    """
    if isinstance(model, str | os.PathLike):
        return load(model), Kind.PATH
    if isinstance(model, onnx.ModelProto):
        return model_from_proto(model), Kind.PROTO
    if isinstance(model, ir.Model):
        return _own_copy(model), Kind.IR
    if type(model).__module__.partition(".")[0] == "onnx_graphsurgeon":
        return model_from_proto(_proto_from_graphsurgeon(model)), Kind.GRAPHSURGEON
    if isinstance(proto := getattr(model, "model_proto", None), onnx.ModelProto):
        return model_from_proto(proto), Kind.PROGRAM
    raise UsageError(
        f"cannot read a model from {type(model).__name__}; give a path, an onnx.ModelProto, an onnx_ir.Model, "
        "an onnx_graphsurgeon.Graph or a torch.onnx.ONNXProgram"
    )


def from_ir(model: ir.Model, kind: Kind) -> AnyModel:
    """`model` as the kind it came in as.

    Raises:
        UsageError: onnx_graphsurgeon is asked for and not installed.
        ValueError: `kind` is PATH; `save` writes files.
    """
    match kind:
        case Kind.IR:
            return model
        case Kind.PROTO | Kind.PROGRAM:
            return ir.to_proto(model)
        case Kind.GRAPHSURGEON:
            return _graphsurgeon().import_onnx(ir.to_proto(model))
    raise ValueError("a path is written by graph.save.save")


def unchanged(model: AnyModel, kind: Kind) -> AnyModel:
    """What goes out when nothing was done: `model` itself, or the ModelProto of a PROGRAM."""
    return getattr(model, "model_proto", model) if kind is Kind.PROGRAM else model


def _own_copy(model: ir.Model) -> ir.Model:
    check_opset(model.opset_imports, {node.domain for node in model.graph})
    seen: set[str] = set()
    values = {id(value): value for value in (*model.graph.inputs, *model.graph.initializers.values())}
    outputs = (value for node in model.graph for value in node.outputs if value.name != "")
    for value in (*values.values(), *outputs):
        if not value.name or value.name in seen:
            raise UnreadableError(f"graph '{model.graph.name}' has no or two values called '{value.name or ''}'")
        seen.add(value.name)
    try:
        return model.clone()
    except RuntimeError:
        raise UnreadableError(
            f"graph '{model.graph.name}' is not in topological order or uses a value that nothing defines; "
            "try model.graph.sort() first"
        ) from None


def _graphsurgeon() -> Any:
    try:
        import onnx_graphsurgeon  # noqa: PLC0415 — optional, and slow to import
    except ImportError:
        raise UsageError("onnx-graphsurgeon is not installed; run `pip install onnx-graphsurgeon`") from None
    return onnx_graphsurgeon


def _proto_from_graphsurgeon(graph: Any) -> onnx.ModelProto:
    imports = list(graph.import_domains or [onnx.helper.make_opsetid("", graph.opset)])
    try:
        # Left to itself, exporting appends the domains in use to the caller's own list.
        proto: onnx.ModelProto = _graphsurgeon().export_onnx(graph, opset_imports=imports)
    except Exception as error:  # graphsurgeon raises its own, numpy's and onnx's errors alike
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UnreadableError(f"onnx_graphsurgeon cannot export the graph: {reason}") from error
    known = {opset.domain for opset in imports}
    for domain in sorted(_domains(proto.graph) - known):
        proto.opset_import.add(domain=domain, version=1)
    return proto


def _domains(graph: onnx.GraphProto) -> set[str]:
    inner = [_domains(body) for node in graph.node for body in subgraphs_of(node)]
    return {node.domain for node in graph.node}.union(*inner)
