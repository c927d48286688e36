"""Local functions of a model file: none twice, none inside itself, and not many times more operators than it shows.

Runtimes replace every call by the function's body, without asking how much that will be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx

from onnx_nepenthe.errors import UnreadableError
from onnx_nepenthe.graph.schemas import check_operator
from onnx_nepenthe.graph.structure import subgraphs_of

LARGEST_EXPANSION = 1 << 22
"""Operators of a model when every call is replaced by a body."""
Key = tuple[str, str, str]


def check_functions(proto: onnx.ModelProto) -> None:
    """Return when every operator fits its definition and no function calls itself.

    Raises:
        UnreadableError: which one does not, and why.
    """
    bodies: dict[Key, onnx.FunctionProto] = {}
    for function in proto.functions:
        key = (_domain(function.domain), function.name, function.overload)
        if key in bodies:
            raise UnreadableError(f"defines the function '{function.name}' of domain '{function.domain}' twice")
        bodies[key] = function
    _check_size(proto, bodies)
    _check_operators(proto.graph.node, _opsets(proto.opset_import), bodies)
    for function in proto.functions:
        _check_operators(function.node, _opsets(function.opset_import), bodies)


def _check_operators(
    nodes: Iterable[onnx.NodeProto], opsets: Mapping[str, int], bodies: Mapping[Key, onnx.FunctionProto]
) -> None:
    for node in _all_nodes(nodes):
        if _key(node) not in bodies:
            check_operator(node, opsets)


def _check_size(proto: onnx.ModelProto, bodies: Mapping[Key, onnx.FunctionProto]) -> None:
    """Count what every function becomes, those it calls first."""
    calls = {key: {_key(node) for node in _all_nodes(body.node)} & bodies.keys() for key, body in bodies.items()}
    sizes: dict[Key, int] = {}
    for start in bodies:
        waiting = [start]
        inside: set[Key] = set()
        while waiting:
            key = waiting[-1]
            missing = next((call for call in calls[key] if call not in sizes), None)
            if key in sizes or missing is None:
                sizes.setdefault(key, _size(bodies[key].node, sizes))
                inside.discard(waiting.pop())
                continue
            inside.add(key)
            if missing in inside:
                raise UnreadableError(f"the function '{key[1]}' of domain '{key[0]}' calls itself")
            waiting.append(missing)
    if _size(proto.graph.node, sizes) > LARGEST_EXPANSION:
        raise UnreadableError(f"its functions stand for more than {LARGEST_EXPANSION:,} operators")


def _size(nodes: Iterable[onnx.NodeProto], sizes: Mapping[Key, int]) -> int:
    return sum(sizes.get(_key(node), 1) for node in _all_nodes(nodes))


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes and those of their bodies."""
    waiting = [iter(nodes)]
    while waiting:
        node = next(waiting[-1], None)
        if node is None:
            waiting.pop()
            continue
        yield node
        waiting += [iter(body.node) for body in subgraphs_of(node)]


def _key(node: onnx.NodeProto) -> Key:
    return (_domain(node.domain), node.op_type, node.overload)


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _opsets(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    return {_domain(opset.domain): opset.version for opset in imports}
