"""What a rewrite replaces, as a picture needs it: operators, what goes in and out, shapes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.opview import OpView, Shape


@dataclass(frozen=True)
class Drawn:
    """One operator.

    Attributes:
        label: how reports call it.
        op: its type.
        inputs: the values it takes, constants left out.
        output: its first value.
        shape: of `output`; None when not known.
        weight: shape of its largest constant, () when it has none.
    """

    label: str
    op: str
    inputs: tuple[str, ...]
    output: str
    shape: Shape | None
    weight: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sketch:
    """A part of a graph.

    Attributes:
        operators: in topological order.
        shape: of the value that the part starts from; None when not known.
    """

    operators: tuple[Drawn, ...] = ()
    shape: Shape | None = None


def sketch(view: GraphView, source: str, value: str, labels: Collection[str]) -> Sketch:
    """The operators called `labels` on the way from `source` to `value`.

    Nothing where `value` is not in the graph, as those are not that only an earlier step has made.
    """
    wanted, found = frozenset(labels), dict[str, OpView]()
    waiting = [value]
    while waiting:
        op = view.op_of(waiting.pop())
        if op is None or op.key in found or op.label not in wanted:
            continue
        found[op.key] = op
        waiting.extend(name for name in _operands(op) if name != source)
    start = view.tensors.get(source)
    return Sketch(tuple(_drawn(op) for op in view.ops if op.key in found), None if start is None else start.shape)


def _drawn(op: OpView) -> Drawn:
    weights = [operand.constant.shape for operand in op.inputs if operand is not None and operand.constant is not None]
    largest = max(weights, key=lambda shape: (len(shape), shape), default=())
    return Drawn(op.label, op.op_type, tuple(_operands(op)), op.key, op.output_shapes[0], tuple(largest))


def _operands(op: OpView) -> Iterator[str]:
    return (operand.name for operand in op.inputs if operand is not None and operand.constant is None)
