"""The ways to compute each affine value, priced: keep its operator, or one operator from an earlier value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from onnx_nepenthe.affine.cost import form_cost
from onnx_nepenthe.affine.forms import Form, apply, is_finite, trim
from onnx_nepenthe.affine.maps import is_identity, weight_bytes
from onnx_nepenthe.affine.outline import Outline
from onnx_nepenthe.cheapest import Option, Part
from onnx_nepenthe.emit import Dialect, is_emittable
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.lifting import LinedSum, inside_of, lifts, taken_in
from onnx_nepenthe.ops.base import Chain
from onnx_nepenthe.prices import CostModel
from onnx_nepenthe.regions import Affine, Atlas

LAZY_EFFORT = 1 << 24
"""Multiply-adds of a composition that is worth a look at its outline first."""

LARGEST_HELD_BYTES = 1 << 24
"""Of a form whose forms on the way are kept."""


def is_nothing(form: Form) -> bool:
    """Whether the form is that of the source itself."""
    return form.is_straight and is_identity(form.core)


@dataclass
class Ways:
    """Prices the ways to compute values; what takes long to compose only when it could be the cheapest."""

    atlas: Atlas
    costs: CostModel
    dialect: Dialect
    sums: Mapping[str, LinedSum] = field(default_factory=dict)
    forms: dict[tuple[str, str], Form] = field(default_factory=dict)
    _held: set[str] = field(default_factory=set)

    def options(self) -> dict[str, tuple[Option, ...]]:
        """By affine value: keep its operator, one operator from any of its dominators, or a sum with the line inside.

        Forms are dropped once every affine value that starts from them is priced, so that memory follows the width of
        the graph and not its length.
        """
        done = _done_with(self.atlas, self.sums)
        inside = inside_of(self.sums)
        options: dict[str, tuple[Option, ...]] = {}
        for name, value in self.atlas.affine.items():
            if name in self.atlas.parents or name in inside:
                options[name] = (_kept(self.atlas, self.costs, value),)
                options[name] += tuple(self._singles(value, options))
            if name in self.sums and name in options:
                options[name] += tuple(lifts(self.atlas, self.sums[name], options, self._sum_price(name)))
            if done[name]:
                self.atlas.forget(*done[name])
        return options

    def _singles(self, value: Affine, options: Mapping[str, tuple[Option, ...]]) -> Iterator[Option]:
        for source in self.atlas.sources(value.name):
            outline = self.atlas.outline(source, value.name)
            if isinstance(outline, Refused):
                continue
            if outline is not None and outline.effort > LAZY_EFFORT:
                found = self._bounded(source, value.name, outline, options)
            else:
                form = self._form(source, value)
                found = None if form is None else Option(self.costs.single(form, value.name), (source,), source)
            if found is not None:
                yield found

    def _bounded(
        self, source: str, name: str, outline: Outline, options: Mapping[str, tuple[Option, ...]]
    ) -> Option | None:
        """What a composition costs at least; None when what is there costs less."""
        replaced = self.atlas.path(source, name)
        floor = self.costs.floor(outline.form, replaced)
        if all(at in options for at in replaced) and floor >= sum(options[at][0].price for at in replaced):
            return None
        return Option(floor, (source,), source, is_bound=True)

    def settle(self, name: str, option: Option) -> Option | None:
        """The real price of what `_bounded` gave, after composing it."""
        if option.source is None:
            return option
        if option.parts:
            return self._settled_sum(name, option)
        form = self._form(option.source, self.atlas.affine[name])
        self._hold(self.atlas.path(option.source, name), form)
        if form is None:
            return None
        self.forms[option.source, name] = form
        return Option(self.costs.single(form, name), option.needs, option.source)

    def _hold(self, path: Sequence[str], form: Form | None) -> None:
        """Keep small forms on the way for the next value, which probably lies on the same way."""
        is_elsewhere = self._held and self._held.isdisjoint(path)
        self._held.update(path)
        if is_elsewhere or (form is not None and weight_bytes(form.core) > LARGEST_HELD_BYTES):
            self.atlas.forget(*self._held)
            self._held.clear()

    def _form(self, source: str, value: Affine) -> Form | None:
        """How a single operator from `source` computes the value, if one does and is not there already."""
        read = self.atlas.form(source, value.name)
        if isinstance(read, Refused):
            return None
        form = _smallest(read)
        if form is read and source == value.operands[0] and _is_same(value, form, self.atlas.view):
            return None
        return form if is_emittable(form, self.atlas.view.tensors[value.name].dtype, self.dialect) else None

    def _settled_sum(self, name: str, option: Option) -> Option | None:
        """A line behind an operator with weights costs nothing: that is not timed anew, as noise would decide then."""
        price = self._sum_price(name) * (len(option.parts) - 1)
        for index, part in enumerate(option.parts):
            before, form = self._summand(name, part, index == 0)
            if isinstance(before, Refused) or form is None:
                return None
            if part.is_plain:
                continue
            self._hold(self.atlas.path(part.source, part.name), form)
            is_known = form_cost(form, {}).nodes == form_cost(before, {}).nodes
            known = part.price if is_known else None
            price += self.costs.single(form, part.name) if known is None else known
        return replace(option, price=price, is_bound=False)

    def _sum_price(self, name: str) -> float:
        return self.costs.keep(self.atlas.affine[self.sums[name].total], None)

    def _summand(self, name: str, part: Part, with_offset: bool) -> tuple[Form | Refused, Form | None]:
        """How a summand of the value is computed, as it is and with the line inside; None where it cannot be made."""
        before = self.atlas.form(part.source, part.name)
        form = before
        if isinstance(before, Form) and not part.is_plain:
            form = apply(before, taken_in(self.sums[name], part.name, with_offset=with_offset))
        if isinstance(form, Refused) or not is_finite(form):
            return before, None
        form = _smallest(form)
        return before, form if is_emittable(form, self.atlas.view.tensors[name].dtype, self.dialect) else None

    def chosen(self, name: str, option: Option) -> list[tuple[str, Form]]:
        """Where the operators of an option that was taken start, and their forms; one, or those of a sum's summands."""
        made: list[tuple[str | None, Form | None]]
        if option.parts:
            made = [(one.source, self._summand(name, one, at == 0)[1]) for at, one in enumerate(option.parts)]
        else:
            known = self.forms.get((option.source or "", name))
            made = [(option.source, known or self._form(option.source or "", self.atlas.affine[name]))]
        found = [(source, form) for source, form in made if source is not None and form is not None]
        if len(found) < len(made):
            raise AssertionError("a refused form was chosen")
        return found


def _smallest(form: Form) -> Form:
    """Itself, or the same with a smaller kernel."""
    core = trim(form.core)
    return form if core is form.core else replace(form, core=core)


def _done_with(atlas: Atlas, sums: Mapping[str, LinedSum]) -> dict[str, list[str]]:
    """Affine value → the values that no later one starts from."""
    last: dict[str, str] = {}
    for name, value in atlas.affine.items():
        summands = (one.name for one in sums[name].summands) if name in sums else ()
        last.update(dict.fromkeys((*value.operands, *summands, name), name))
    done: dict[str, list[str]] = {name: [] for name in atlas.affine}
    for name, user in last.items():
        done[user].append(name)
    return done


def _kept(atlas: Atlas, costs: CostModel, value: Affine) -> Option:
    return Option(costs.keep(value, direct(atlas, value)), tuple(dict.fromkeys(_needed(value))), None)


def direct(atlas: Atlas, value: Affine) -> Form | None:
    """In terms of its operand, if it has one."""
    form = atlas.form(value.operands[0], value.name) if len(set(value.operands)) == 1 else None
    return form if isinstance(form, Form) else None


def _needed(value: Affine) -> tuple[str, ...]:
    """What its operator takes as it is; more than it is read from where a value that nothing can change is added."""
    others = (t.name for t in value.op.inputs if t is not None and t.constant is None and t.name not in value.operands)
    return (*value.operands, *others)


def _is_same(value: Affine, form: Form, view: GraphView) -> bool:
    """Whether `form` would be written as the operator that is there already."""
    if value.op.op_type == "Identity" and value.name in view.outputs:
        # What is an input, or an output already, cannot carry another name.
        return value.operands[0] in (*view.inputs, *view.outputs)
    if value.rectifier or is_nothing(form) or not isinstance(value.reading, Chain) or len(value.reading.steps) != 1:
        return False
    return set(_needed(value)) == set(value.operands) and value.op.op_type in _WRITTEN_AS_READ


_WRITTEN_AS_READ = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "GlobalAveragePool", "Transpose", "Reshape", "Flatten"}
)
