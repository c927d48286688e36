"""Read a graph into an atlas: every operator once, dominators and constants on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from onnx_nepenthe.affine.forms import Form, has_finite_numbers
from onnx_nepenthe.affine.maps import Conv, Dense, FloatArray, PerChannel, is_constant
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.dominance import nearest_common
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.linearise import Decision
from onnx_nepenthe.ops import READERS
from onnx_nepenthe.ops.base import FLOATS, NOT_CONSTANT, NOT_FINITE, UNKNOWN_TYPE, Chain, Reading, Select
from onnx_nepenthe.opview import OpView, Tensor
from onnx_nepenthe.regions import Affine, Atlas, NodeRefusal

OLDEST_OPSET = 7
"""The first in which Add and its like broadcast as they do today."""
LARGEST_REMEMBERED_BYTES = 1 << 20
"""Weights of one operator; those of larger ones are read whenever they are needed."""
NO_RANK = Refused("the rank of its input is not known", "state the shapes of the model's inputs")
TOO_OLD = Refused("its opset is older than 7", "convert the model with onnx.version_converter")


def chart(view: GraphView, decisions: Mapping[str, Decision], skip: frozenset[str] = frozenset()) -> Atlas:
    """Read every operator of `view`.

    Args:
        view: the graph.
        decisions: by value name, rectifiers that are lines.
        skip: operator types not to read.
    """
    atlas = Atlas(view)
    if view.opsets.get("", OLDEST_OPSET) < OLDEST_OPSET:
        atlas.refusals.append(NodeRefusal("every operator", "", TOO_OLD))
        return atlas
    again = _Again()
    for op in view.ops:
        decision = next((decisions[name] for name in op.outputs if name in decisions), None)
        own = _with_constants(op, atlas)
        reading = _from_decision(decision) if decision is not None else _read(own, atlas, skip)
        if isinstance(reading, Refused):
            atlas.refusals.append(NodeRefusal(op.label, op.key, reading))
            continue
        if reading is None:
            continue
        operands = (decision.operand,) if decision is not None else _operands(op, reading)
        useless = _why_useless(reading, operands, atlas)
        if useless is not None:
            atlas.refusals.append(NodeRefusal(op.label, op.key, useless))
            continue
        read = partial(again, own) if decision is None and _is_large(own) else partial(_same, reading)
        for index, name in enumerate(op.outputs):
            if name and view.tensors[name].constant is None and _is_readable(reading, index):
                _enter(atlas, Affine(name, read, operands, index, op, decision is not None))
    return atlas


def _why_useless(reading: Reading, operands: tuple[str, ...], atlas: Atlas) -> Refused | None:
    """Why no form could ever be made with what the operator does."""
    if any(name not in atlas.affine and atlas.view.tensors[name].shape is None for name in operands):
        return NO_RANK
    steps = reading.steps if isinstance(reading, Chain) else ()
    if not all(
        has_finite_numbers(step) for step in steps if isinstance(step, PerChannel | Dense | Conv | TransposedConv)
    ):
        return NOT_FINITE
    return None


def _same(reading: Reading) -> Reading:
    return reading


@dataclass(eq=False)
class _Again:
    """Reads operators anew; of several questions about one in a row it reads once."""

    last: tuple[OpView, Reading] | None = None

    def __call__(self, op: OpView) -> Reading:
        """The reading of an operator that has one."""
        if self.last is None or self.last[0] is not op:
            self.last = None
            reading = READERS[op.op_type](op)
            if reading is None or isinstance(reading, Refused):
                raise AssertionError("an operator reads differently the second time")
            self.last = (op, reading)
        return self.last[1]


def _is_large(op: OpView) -> bool:
    constants = (operand.constant for operand in op.inputs if operand is not None)
    return sum(constant.nbytes for constant in constants if constant is not None) > LARGEST_REMEMBERED_BYTES


def _enter(atlas: Atlas, value: Affine) -> None:
    """File a value, its immediate dominator and, if nothing can change it, its numbers."""
    atlas.affine[value.name] = value
    parent: str | None = value.operands[0]
    for operand in value.operands[1:]:
        parent = nearest_common(atlas.parents, atlas.depth, parent, operand)
    if parent is None:
        return
    atlas.parents[value.name] = parent
    atlas.depth[value.name] = atlas.depth.get(parent, 0) + 1
    if not value.rectifier and not any(operand in atlas.constants for operand in value.operands):
        return
    form = atlas.form(atlas.roots.get(parent, parent), value.name)
    numbers = _numbers(form) if isinstance(form, Form) else None
    if numbers is not None:
        atlas.constants[value.name] = numbers
        atlas.roots[value.name] = atlas.roots.get(parent, parent)


def _numbers(form: Form) -> tuple[int | None, FloatArray] | None:
    """(axis, values) of a value that is one constant per channel wherever it is read."""
    if not form.is_straight or not is_constant(form.core):
        return None
    match form.core:
        case PerChannel(axis=axis, offset=offset):
            return axis, offset
        case Dense(axis=axis, bias=bias):
            return axis, bias
        case Conv(bias=bias, border=None):
            return 1, bias
    return None


def _with_constants(op: OpView, atlas: Atlas) -> OpView:
    """The operator with constant operands in place of values that nothing can change."""
    if op.op_type not in ("Add", "Sub", "Mul", "Div") or len(op.inputs) != 2:
        return op
    left, right = op.inputs
    if left is None or right is None or left.shape is None or left.shape != right.shape or None in left.shape:
        return op
    return replace(op, inputs=(_as_constant(left, atlas), _as_constant(right, atlas)), key=op.key)


def _as_constant(tensor: Tensor, atlas: Atlas) -> Tensor:
    numbers = atlas.constants.get(tensor.name)
    if numbers is None or tensor.shape is None:
        return tensor
    axis, values = numbers
    sizes = [1] * len(tensor.shape)
    if axis is not None:
        sizes[axis] = -1
    return replace(tensor, constant=values.reshape(sizes))


def _from_decision(decision: Decision) -> Chain:
    return Chain(0, (PerChannel(decision.axis, decision.slope, decision.intercept),))


def _read(op: OpView, atlas: Atlas, skip: frozenset[str]) -> Reading | Refused | None:
    reader = READERS.get(op.op_type)
    if reader is None or op.op_type in skip or op.domain not in ("", "ai.onnx") or op.has_subgraph:
        return None
    result = atlas.view.tensors.get(op.key)
    if result is None or result.dtype not in FLOATS:
        return UNKNOWN_TYPE if result is not None and not result.dtype else None
    reading = reader(op)
    if reading is None and any(operand is not None and operand.name in atlas.view.overridable for operand in op.inputs):
        return NOT_CONSTANT
    return reading


def _operands(op: OpView, reading: Reading) -> tuple[str, ...]:
    at = (reading.operand,) if isinstance(reading, Chain | Select) else reading.operands
    return tuple(operand.name for operand in (op.inputs[i] for i in at) if operand is not None)


def _is_readable(reading: Reading, index: int) -> bool:
    return index == 0 or isinstance(reading, Select)
