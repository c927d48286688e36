"""Refuse what is not a well-formed ONNX graph, by name, in time linear in its nodes.

onnx.checker is not used: it refuses models that run (custom domains, old IR versions) and does not say
which file it speaks of. What is checked here is what the rest of the package relies on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir

from onnx_nepenthe.errors import UnreadableError, UnsupportedError

OLDEST_OPSET = 7
"""Before 7 the broadcasting of Add, Mul, Gemm … is a matter of attributes."""
IR_WITH_OPSETS = 3
DEFAULT_DOMAINS = frozenset({"", "ai.onnx"})
LONGEST_NAME = 1 << 16
LONGEST_TEXT = 1 << 26
"""Characters; names are copied many times on the way, other text a few times."""
_PROSE = frozenset({"doc_string", "value"})
"""Fields that hold text for people; `value` is that of metadata."""
_FIELD_OF = {onnx.AttributeProto.GRAPH: "g", onnx.AttributeProto.TENSOR: "t"}
_GRAPH_ATTRIBUTES = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
_SPARSE_ATTRIBUTES = (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS)
Nodes = Iterable[onnx.NodeProto]


def check_structure(proto: onnx.ModelProto) -> None:
    """Return when every name is defined exactly once and nothing would be lost by reading the model.

    Raises:
        UnreadableError: no graph, a value defined twice or not at all.
        UnsupportedError: opset below 7, sparse weights, training information.
    """
    if not proto.HasField("graph"):
        raise UnreadableError("holds no graph; it is not an ONNX model, or only part of one")
    _check_text(proto)
    if proto.training_info:
        raise UnsupportedError("is a training model (training_info); export it for inference")
    _check_graph(proto.graph, [])
    check_opset(_opsets(proto), {node.domain for node in proto.graph.node})
    for function in proto.functions:
        names = _Names(f"function '{function.name}'")
        names.define(function.input, "input")
        _check_nodes(function.node, names, [])
        names.require(function.output, [], "output")


def check_opset(opsets: Mapping[str, int], domains: Iterable[str]) -> None:
    """Return when the operators of the default domain have a version this tool knows.

    Args:
        opsets: domain → version, as the model imports them.
        domains: domains that its operators are of.

    Raises:
        UnreadableError: such operators, but no version.
        UnsupportedError: a version below 7.
    """
    version = opsets.get("", opsets.get("ai.onnx"))
    if version is None:
        if not DEFAULT_DOMAINS.isdisjoint(domains):
            raise UnreadableError("does not say which opset its operators are of (opset_import is missing)")
        return
    if version < OLDEST_OPSET:
        raise UnsupportedError(
            f"is of opset {version}, older than {OLDEST_OPSET}; convert it first with "
            "onnx.version_converter.convert_version(model, 13)"
        )


def cycle_in(graph: ir.Graph | ir.Function) -> str:
    """Name of a value that depends on itself, for a graph that cannot be sorted."""
    waiting = {node: sum(v is not None and v.producer() is not None for v in node.inputs) for node in graph}
    ready = [node for node, count in waiting.items() if not count]
    while ready:
        for output in ready.pop().outputs:
            for user, _ in output.uses():
                if user in waiting:
                    waiting[user] -= 1
                    ready += [user] if not waiting[user] else []
    # What waits is on a cycle or behind one; walking back from it ends on the cycle.
    node = next((node for node, count in waiting.items() if count), None)
    seen: set[ir.Node] = set()
    while node is not None and node not in seen:
        seen.add(node)
        sources = (value.producer() for value in node.inputs if value is not None)
        node = next((source for source in sources if source is not None and waiting.get(source)), None)
    return "" if node is None else str(next((output.name for output in node.outputs if output.name), ""))


class _Names:
    """What one graph defines."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.inputs: set[str] = set()
        self.defined: set[str] = set()

    def define(self, names: Iterable[str], what: str) -> None:
        for name in names:
            if not name:
                raise UnreadableError(f"{self.where} has an {what} without a name")
            if name in self.defined:
                raise UnreadableError(f"{self.where} defines the value '{name}' twice (again as {what})")
            self.defined.add(name)

    def require(self, names: Iterable[str], outer: list[_Names], what: str) -> None:
        for name in names:
            if name and not any(name in scope.defined for scope in (self, *reversed(outer))):
                raise UnreadableError(f"{self.where} uses the value '{name}' ({what}), which nothing defines")


def _check_graph(graph: onnx.GraphProto, outer: list[_Names]) -> None:
    names = _Names(f"graph '{graph.name}'")
    if graph.sparse_initializer:
        sparse = graph.sparse_initializer[0].values.name
        raise UnsupportedError(f"{names.where} has the sparse weight '{sparse}' (sparse_initializer); store it dense")
    names.define((value.name for value in graph.input), "input")
    # Before IR 4 every weight is an input too, so the two sets may overlap.
    weights = _Names(names.where)
    weights.define((tensor.name for tensor in graph.initializer), "initializer")
    names.defined |= weights.defined
    _check_nodes(graph.node, names, outer)
    for value in graph.output:
        if not value.name:
            raise UnreadableError(f"{names.where} has an output without a name")
        if value.type.tensor_type.HasField("shape") and not value.type.tensor_type.elem_type:
            raise UnsupportedError(f"{names.where} states a shape but no type of its output '{value.name}'")
    # An outer value may not be returned directly (onnxruntime refuses it too).
    names.require((value.name for value in graph.output), [], "output")


def _check_nodes(nodes: Nodes, names: _Names, outer: list[_Names]) -> None:
    nodes = list(nodes)
    for node in nodes:
        label = f"output of {node.op_type} '{node.name}'"
        names.define((name for name in node.output if name), label)
    for node in nodes:
        names.require(node.input, outer, f"input of {node.op_type} '{node.name}'")
        _check_attributes(node)
        for body in subgraphs_of(node):
            _check_graph(body, [*outer, names])


def _check_attributes(node: onnx.NodeProto) -> None:
    if not node.op_type:
        raise UnreadableError(f"has a node without an operator type ('{node.name}')")
    if node.domain in DEFAULT_DOMAINS and not any(node.output):
        raise UnreadableError(f"{node.op_type} '{node.name}' has no output")
    for attribute in node.attribute:
        field = _FIELD_OF.get(attribute.type)
        if field and not attribute.ref_attr_name and not attribute.HasField(field):
            raise UnreadableError(f"{node.op_type} '{node.name}' has an attribute '{attribute.name}' without value")
        if attribute.type in _SPARSE_ATTRIBUTES:
            raise UnsupportedError(f"{node.op_type} '{node.name}' has a sparse attribute '{attribute.name}'")


def subgraphs_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Bodies of If, Loop, Scan …, not their bodies' bodies."""
    for attribute in node.attribute:
        if attribute.type in _GRAPH_ATTRIBUTES:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def _opsets(proto: onnx.ModelProto) -> dict[str, int]:
    if not proto.opset_import and proto.ir_version < IR_WITH_OPSETS:
        return {"": 1}
    return {opset.domain: opset.version for opset in proto.opset_import}


def _check_text(proto: onnx.ModelProto) -> None:
    """Protobuf parses strings that are not UTF-8 and hands them out as bytes, which nothing after this expects."""
    waiting: list[Any] = [proto]
    while waiting:
        for field, value in waiting.pop().ListFields():
            many = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
            if field.type == field.TYPE_MESSAGE:
                waiting.extend(many)
            elif field.type == field.TYPE_STRING:
                _check_string(field, many)


def _check_string(field: Any, many: Sequence[Any]) -> None:
    most = LONGEST_TEXT if field.name in _PROSE else LONGEST_NAME
    for text in many:
        if not isinstance(text, str):
            raise UnreadableError(f"holds text in '{field.name}' that is not UTF-8; the file is damaged")
        if len(text) > most:
            raise UnreadableError(f"holds {len(text):,} characters in one '{field.name}', more than {most:,}")
