"""Find the rectifiers of a graph: single operators and patterns of several."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from onnx_nepenthe.activations import ACTIVATIONS, PATTERNS, Activation, Match
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.opview import OpView, Tensor
from onnx_nepenthe.rectifiers.channels import channel_axes

FLOATS = frozenset({"float", "float16", "bfloat16", "double"})
LONGEST_PATTERN = 24
"""More operators than the finders can walk over (x^3 in three products, switched softplus in Mish)."""


@dataclass(frozen=True)
class Rectifier:
    """One activation of a graph: `output = activation(operand)`, element by element.

    Attributes:
        key: the name of its output; identifies it.
        label: for people: the last operator's name, or its type and output.
        op: what it is ("Relu", "Gelu(erf)").
        operand: name of the pre-activation z.
        output: name of the post-activation y, the same as `key`.
        activation: knots and lines; pieces with one line are joined.
        axis: where channels lie in z, counted from 0: the axis of a per-channel parameter if there is one, else
            the axis the graph suggests; None when the rank is unknown.
        channels: size of that axis, or None.
        version: opset version of the last operator.
        rule: the registered name of what found it ("Swish" for op "Silu"); "" when made by hand.
    """

    key: str
    label: str
    op: str
    operand: str
    output: str
    activation: Activation
    axis: int | None
    channels: int | None
    version: int
    rule: str = ""


@dataclass(frozen=True)
class RefusedRectifier:
    """A rectifier that cannot be read, and why."""

    key: str
    label: str
    op: str
    refused: Refused


def find_rectifiers(view: GraphView) -> tuple[tuple[Rectifier, ...], tuple[RefusedRectifier, ...]]:
    """Rectifiers and refused ones, each in topological order.

    A pattern wins over its parts: a part is listed only if something outside the pattern needs it. Rectifiers of
    constants and of integers are left out.
    """
    axes = channel_axes(view)
    read = {op.key: match for op in view.ops if (match := _read(op)) is not None}
    swallowed = _swallowed(view, read)
    found: list[Rectifier] = []
    refused: list[RefusedRectifier] = []
    for op in view.ops:
        if op.key in swallowed:
            continue
        entry = read.get(op.key)
        if isinstance(entry, Refused):
            refused.append(RefusedRectifier(op.key, op.label, op.op_type, entry))
        elif entry is not None:
            found.append(_rectifier(op, entry, axes.get(entry.operand.name)))
    return tuple(found), tuple(refused)


def _rectifier(op: OpView, match: Match, axis: int | None) -> Rectifier:
    activation, operand = match.activation.merged(), match.operand
    parameters = [n for line in activation.lines if line is not None for n in line] + list(activation.knots)
    sizes = [n.size for n in parameters if isinstance(n, np.ndarray)]
    if sizes and activation.axis is not None:
        axis = activation.axis
    else:
        activation = replace(activation, axis=None)
    size = sizes[0] if sizes else None if axis is None or operand.shape is None else operand.shape[axis]
    return Rectifier(
        key=op.key,
        label=op.label,
        op=match.op,
        operand=operand.name,
        output=op.key,
        activation=activation,
        axis=axis,
        channels=size if isinstance(size, int) else None,
        version=op.version,
        rule=match.rule,
    )


def _read(op: OpView) -> Match | Refused | None:
    for name in PATTERNS:
        match = PATTERNS[name](op)
        if match is not None and match.operand.dtype in FLOATS and _keeps_shape(op, match.operand):
            return replace(match, rule=name)
    domain = "" if op.domain in ("", "ai.onnx") else f"{op.domain}::"
    maker = ACTIVATIONS.get(domain + op.op_type)
    operand = next((t for t in op.inputs if t is not None and t.constant is None), None)
    if maker is None or operand is None or operand.dtype not in FLOATS | {""}:
        return None
    made = maker(op)
    if not isinstance(made, Activation):
        return made
    if not operand.dtype:
        return Refused("the element type of its input is unknown", "run shape inference on the model")
    return Match(made, operand, op.op_type, domain + op.op_type)


def _keeps_shape(op: OpView, operand: Tensor) -> bool:
    """Whether nothing suggests that a constant of the pattern enlarges the operand."""
    shape = op.output_shapes[0]
    if shape is None or operand.shape is None:
        return True
    if len(shape) != len(operand.shape):
        return False
    return all(size == dim for size, dim in zip(shape, operand.shape, strict=True) if isinstance(size, int))


def _swallowed(view: GraphView, read: dict[str, Match | Refused]) -> set[str]:
    """Keys of rectifiers that only serve as parts of others."""
    gone: set[str] = set()
    for op in view.ops:
        match = read.get(op.key)
        if not isinstance(match, Match):
            continue
        inside = _parts(op, match.operand)
        for key in inside & read.keys():
            users = {view.ops[at].key for at in view.consumers.get(key, ())}
            if users <= inside | {op.key} and not view.is_pinned(key):
                gone.add(key)
    return gone


def parts_of(view: GraphView, rectifier: Rectifier) -> frozenset[str]:
    """Keys of the operators that a rectifier is spelt in, its last one left out."""
    last = view.op_of(rectifier.key)
    return frozenset() if last is None else frozenset(_parts(last, view.tensors[rectifier.operand]))


def _parts(op: OpView, operand: Tensor) -> set[str]:
    """Keys of the operators between the operand and `op`, both excluded."""
    inside: set[str] = set()
    open_ends = [op]
    while open_ends and len(inside) < LONGEST_PATTERN:
        for tensor in open_ends.pop().inputs:
            if tensor is None or tensor.constant is not None or tensor.name == operand.name:
                continue
            if tensor.producer is not None and tensor.producer.key not in inside:
                inside.add(tensor.producer.key)
                open_ends.append(tensor.producer)
    return inside
