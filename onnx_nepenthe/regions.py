"""Which values are affine in which earlier ones.

Every operator is read once. An affine value then has a *source*: a value that every path to it passes
through (a dominator in the graph of affine values), and its form in terms of that source follows by
composing the readings. Operands that are sums of different sources end a region.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from onnx_nepenthe.affine import forms
from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import Conv, Dense, FloatArray, PerChannel, is_constant
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.linearise import Decision
from onnx_nepenthe.ops import READERS
from onnx_nepenthe.ops.base import Chain, Mean, Reading, Reshape, Select, Stack, Step, Total, Transpose
from onnx_nepenthe.opview import OpView, Tensor

WINDOW = 16
"""How many dominators back a single operator may reach; keeps planning linear in nodes."""
SEVERAL = Refused("its operands come from different nonlinear values")


@dataclass(frozen=True, eq=False)
class Affine:
    """One affine value.

    Attributes:
        name: the value.
        reading: how its operator reads.
        operands: the values the reading refers to, in its order.
        output: which output of the operator it is.
        op: the operator.
        rectifier: whether it is a rectifier that was decided to be linear.
    """

    name: str
    reading: Reading
    operands: tuple[str, ...]
    output: int
    op: OpView
    rectifier: bool = False


@dataclass(frozen=True)
class NodeRefusal:
    """Why an operator was not read."""

    label: str
    key: str
    refusal: Refused


@dataclass
class Atlas:
    """Affine values of one graph and their forms; forms are computed on demand and remembered.

    Attributes:
        view: the graph.
        affine: by name, in topological order.
        refusals: operators that are affine in kind but could not be read.
        parents: value → immediate dominator, where there is one.
        depth: number of dominators.
        constants: value → (axis, numbers) where nothing can change it (a rectifier that is always OFF).
        roots: value in `constants` → the value whose form showed it.
    """

    view: GraphView
    affine: dict[str, Affine] = field(default_factory=dict)
    refusals: list[NodeRefusal] = field(default_factory=list)
    parents: dict[str, str] = field(default_factory=dict)
    depth: dict[str, int] = field(default_factory=dict)
    constants: dict[str, tuple[int | None, FloatArray]] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)
    _forms: dict[tuple[str, str], Form | Refused] = field(default_factory=dict)

    def sources(self, name: str) -> Iterator[str]:
        """Dominators of `name`, nearest first, at most `WINDOW` of them."""
        for _ in range(WINDOW):
            parent = self.parents.get(name)
            if parent is None:
                return
            yield parent
            name = parent

    def form(self, source: str, name: str) -> Form | Refused:
        """`name` in terms of `source`."""
        key = (source, name)
        if key not in self._forms:
            self._forms[key] = self._compute(source, name)
        return self._forms[key]

    def forget(self) -> None:
        """Drop the remembered forms."""
        self._forms.clear()

    def _compute(self, source: str, name: str) -> Form | Refused:
        if source == name:
            shape = self.view.tensors[name].shape
            return Refused("the rank of the source is not known") if shape is None else forms.source_form(shape)
        value = self.affine.get(name)
        if value is None:
            return SEVERAL
        parts: list[Form] = []
        for operand in value.operands:
            part = self.form(source, operand)
            if isinstance(part, Refused):
                return part
            parts.append(part)
        found = combine(value, parts)
        if isinstance(found, Form) and not forms.is_finite(found):
            return Refused("its weights are not finite")
        return found


def combine(value: Affine, parts: list[Form]) -> Form | Refused:
    """The form of a value from the forms of its operands."""
    match value.reading:
        case Chain(steps=steps):
            form: Form | Refused = parts[0]
            for step in steps:
                if isinstance(form, Refused):
                    return form
                form = _step(form, step)
            return form
        case Total(signs=signs):
            signed: list[Form] = []
            for part, sign in zip(parts, signs, strict=True):
                turned = part if sign == 1.0 else forms.apply(part, PerChannel(None, np.array([sign]), np.zeros(1)))
                if isinstance(turned, Refused):
                    return turned
                signed.append(turned)
            return forms.total(signed)
        case Stack(axis=axis):
            return forms.stack(parts, axis)
        case Select(axis=axis, bounds=bounds):
            return forms.select(parts[0], axis, *bounds[value.output])


def _step(form: Form, step: Step) -> Form | Refused:
    match step:
        case Transpose(perm=perm):
            return forms.transpose(form, perm)
        case Reshape(target=target):
            return forms.reshape(form, target)
        case Mean(axes=axes, keepdims=keepdims):
            return forms.mean(form, axes, keepdims)
        case PerChannel() | Dense() | Conv():
            return forms.apply(form, step)


def chart(view: GraphView, decisions: Mapping[str, Decision], skip: frozenset[str] = frozenset()) -> Atlas:
    """Read every operator of `view`.

    Args:
        view: the graph.
        decisions: by value name, rectifiers that are lines.
        skip: operator types not to read.
    """
    atlas = Atlas(view)
    for op in view.ops:
        decision = next((decisions[name] for name in op.outputs if name in decisions), None)
        reading = _from_decision(decision) if decision is not None else _read(_with_constants(op, atlas), skip)
        if isinstance(reading, Refused):
            atlas.refusals.append(NodeRefusal(op.label, op.key, reading))
            continue
        if reading is None:
            continue
        operands = (decision.operand,) if decision is not None else _operands(op, reading)
        for index, name in enumerate(op.outputs):
            if name and view.tensors[name].constant is None and _is_readable(reading, index):
                _enter(atlas, Affine(name, reading, operands, index, op, decision is not None))
    return atlas


def _enter(atlas: Atlas, value: Affine) -> None:
    """File a value, its immediate dominator and, if nothing can change it, its numbers."""
    atlas.affine[value.name] = value
    parent: str | None = value.operands[0]
    for operand in value.operands[1:]:
        parent = _common(atlas, parent, operand)
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


def _read(op: OpView, skip: frozenset[str]) -> Reading | Refused | None:
    reader = READERS.get(op.op_type)
    if reader is None or op.op_type in skip or op.domain not in ("", "ai.onnx") or op.has_subgraph:
        return None
    return reader(op)


def _operands(op: OpView, reading: Reading) -> tuple[str, ...]:
    at = (reading.operand,) if isinstance(reading, Chain | Select) else reading.operands
    return tuple(operand.name for operand in (op.inputs[i] for i in at) if operand is not None)


def _is_readable(reading: Reading, index: int) -> bool:
    return index == 0 or isinstance(reading, Select)


def _common(atlas: Atlas, a: str | None, b: str | None) -> str | None:
    depth = atlas.depth
    while a is not None and b is not None and a != b:
        if depth.get(a, 0) >= depth.get(b, 0):
            a = atlas.parents.get(a)
        else:
            b = atlas.parents.get(b)
    return a if a is not None and b is not None else None
