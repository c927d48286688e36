"""The operators between two values of a graph, and whether anybody else needs what they make."""

from __future__ import annotations

from collections.abc import Mapping, Set
from math import prod

from onnx_nepenthe.affine.cost import concrete
from onnx_nepenthe.dominance import nearest_common
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.opview import OpView

LARGEST_PART = 64
"""Operators of the largest span."""


def operands_of(op: OpView) -> list[str]:
    """Names of what it takes, constants left out."""
    return [t.name for t in op.inputs if t is not None and t.constant is None]


def between(view: GraphView, source: str, target: str) -> set[str] | None:
    """Keys of the operators on the paths from `source` to `target`; None when too many or one has a subgraph."""
    found: set[str] = set()
    todo = [target]
    while todo:
        name = todo.pop()
        op = view.op_of(name)
        if name == source or op is None or op.key in found:
            continue
        found.add(op.key)
        if len(found) > LARGEST_PART or op.has_subgraph:
            return None
        todo.extend(operands_of(op))
    return found


def is_closed(view: GraphView, ops: Set[str], target: str) -> bool:
    """Whether nothing outside uses a value from inside, except `target`."""
    for key in ops:
        op = view.op_of(key)
        for name in () if op is None else op.outputs:
            if name in ("", target):
                continue
            users = {view.ops[at].key for at in view.consumers.get(name, ())}
            if view.is_pinned(name) or users - ops:
                return False
    return True


def dominators(view: GraphView) -> dict[str, str]:
    """Value → the nearest earlier value that every path to it passes through; none where there is none.

    One pass, as values come in topological order; constants do not count as paths.
    """
    parents: dict[str, str] = {}
    depth: dict[str, int] = {}
    for op in view.ops:
        operands = operands_of(op)
        if not operands or op.has_subgraph:
            continue
        parent: str | None = operands[0]
        for operand in operands[1:]:
            parent = nearest_common(parents, depth, parent, operand)
        for name in op.outputs:
            if name and parent is not None:
                parents[name] = parent
                depth[name] = depth.get(parent, 0) + 1
    return parents


def stem(view: GraphView, parents: Mapping[str, str]) -> tuple[str, ...]:
    """Values that every path to any output passes through, first ones first; outputs themselves are left out.

    Whatever comes behind one of them can be computed from it alone.

    Args:
        view: the graph.
        parents: its `dominators`.
    """
    depth: dict[str, int] = {}
    for name in view.tensors:
        if name in parents:
            depth[name] = depth.get(parents[name], 0) + 1
    common: str | None = parents.get(view.outputs[0])
    for output in view.outputs[1:]:
        common = nearest_common(parents, depth, common, parents.get(output))
    found: list[str] = []
    while common is not None:
        found.append(common)
        common = parents.get(common)
    return tuple(reversed([name for name in found if name not in view.outputs]))


def conv_macs(view: GraphView, ops: Set[str], dims: Mapping[str, int]) -> int:
    """Multiply-adds of the convolutions among `ops`; `dims` are sizes of symbolic axes."""
    total = 0
    for op in map(view.op_of, ops):
        weight = None if op is None or op.op_type != "Conv" else op.constant(1)
        if op is not None and weight is not None:
            out = concrete(op.output_shapes[0] or (), dims)
            total += int(weight.size) * prod((*out[:1], *out[2:]))
    return total
