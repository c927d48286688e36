"""Which values are affine in which earlier ones.

Every operator is read once. An affine value then has a *source*: a value that every path to it passes
through (a dominator in the graph of affine values), and its form in terms of that source follows by
composing the readings. Operands that are sums of different sources end a region.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from onnx_nepenthe.affine import forms
from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import Conv, Dense, FloatArray, PerChannel
from onnx_nepenthe.affine.outline import Outline, outline_after, source_outline
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.ops.base import Chain, Mean, Reading, Reshape, Select, Stack, Step, Total, Transpose
from onnx_nepenthe.opview import OpView

WINDOW = 16
"""How many dominators back a single operator may reach; keeps planning linear in nodes."""
SEVERAL = Refused("its operands come from different nonlinear values")


@dataclass(frozen=True, eq=False)
class Affine:
    """One affine value.

    Attributes:
        name: the value.
        read: how its operator reads; large weights are read anew each time, as all of them together would be the
            model twice over in float64.
        operands: the values the reading refers to, in its order.
        output: which output of the operator it is.
        op: the operator.
        rectifier: whether it is a rectifier that was decided to be linear.
    """

    name: str
    read: Callable[[], Reading]
    operands: tuple[str, ...]
    output: int
    op: OpView
    rectifier: bool = False

    @property
    def reading(self) -> Reading:
        """How its operator reads."""
        return self.read()


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
    _forms: dict[str, dict[str, Form | Refused]] = field(default_factory=dict)
    _outlines: dict[str, dict[str, Outline | Refused | None]] = field(default_factory=dict)

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
        if source not in self._forms.get(name, ()):
            for value in _operands_first(name, lambda value: self._unknown(source, value)):
                self._forms.setdefault(value, {})[source] = self._compute(source, value)
        return self._forms[name][source]

    def outline(self, source: str, name: str) -> Outline | Refused | None:
        """What the form of `name` in terms of `source` will be; None where only computing it tells."""
        if source == name:
            shape = self.view.tensors[name].shape
            return None if shape is None else source_outline(shape)
        known = self._outlines.setdefault(name, {})
        if source not in known:
            known[source] = self._outlined(source, name)
        return known[source]

    def _outlined(self, source: str, name: str) -> Outline | Refused | None:
        value = self.affine.get(name)
        if value is None or len(value.operands) != 1:
            return None
        before = self.outline(source, value.operands[0])
        reading = value.reading if isinstance(before, Outline) else None
        if not isinstance(reading, Chain):
            return before if isinstance(before, Refused) else None
        found: Outline | Refused | None = before
        for step in reading.steps:
            if not isinstance(found, Outline) or not isinstance(step, PerChannel | Dense | Conv):
                return found if isinstance(found, Refused) else None
            found = outline_after(step, found)
        return found

    def path(self, source: str, name: str, *others: str) -> list[str]:
        """The affine values between `source` or one of `others` and `name`, `name` included, operands first."""
        ends = {source, *others}
        found = _operands_first(name, lambda value: () if value in ends else self.affine[value].operands)
        return [value for value in found if value not in ends]

    def _unknown(self, source: str, name: str) -> list[str]:
        """Operands of `name` whose forms have to be computed first."""
        if name == source or name not in self.affine:
            return []
        return [operand for operand in self.affine[name].operands if source not in self._forms.get(operand, ())]

    def forget(self, *names: str) -> None:
        """Drop the remembered forms and outlines of these values; all of them when none is named."""
        for name in names or tuple(self._forms):
            self._forms.pop(name, None)
            self._outlines.pop(name, None)

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


def _operands_first(name: str, operands: Callable[[str], Iterable[str]]) -> list[str]:
    """`name` and what it is made of, without recursion, as branches may be longer than Python's stack."""
    found: dict[str, None] = {}
    waiting = [(name, iter(operands(name)))]
    while waiting:
        current, rest = waiting[-1]
        following = next((operand for operand in rest if operand not in found), None)
        if following is None:
            found[current] = None
            waiting.pop()
        else:
            waiting.append((following, iter(operands(following))))
    return list(found)


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
        case PerChannel() | Dense() | Conv() | TransposedConv():
            return forms.apply(form, step)
