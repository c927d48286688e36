"""Choose which affine values become single operators: a shortest path over costs, not a pattern."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.emit import Dialect, dialect_of, is_emittable
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.ops.base import Chain
from onnx_nepenthe.prices import CostModel
from onnx_nepenthe.regions import Affine, Atlas


@dataclass(frozen=True, eq=False)
class Choice:
    """Compute `value` from `source` by `form`, as one operator.

    Attributes:
        value, source: names in the graph.
        form: how.
        replaced: labels of the operators between the two.
    """

    value: str
    source: str
    form: Form
    replaced: tuple[str, ...]


@dataclass(frozen=True)
class Region:
    """Choices that stand or fall together.

    Attributes:
        name: its last value.
        choices: in topological order.
        gain: price before less price after, in the cost model's unit.
    """

    name: str
    choices: tuple[Choice, ...]
    gain: float


@dataclass(frozen=True)
class _Best:
    price: float
    source: str | None


@dataclass
class _Planner:
    atlas: Atlas
    costs: CostModel
    required: frozenset[str]
    dialect: Dialect
    best: dict[str, _Best] = field(default_factory=dict)

    def is_free(self, name: str) -> bool:
        """Whether the value is there whatever is chosen."""
        return name in self.required or name not in self.atlas.parents

    def fill(self) -> None:
        """Price every affine value, in topological order."""
        for name in self.atlas.affine:
            if name in self.atlas.parents:
                self.best[name] = min(self._options(name), key=lambda option: option.price)

    def _options(self, name: str) -> Iterator[_Best]:
        value = self.atlas.affine[name]
        yield _Best(self._keep(value), None)
        for source in self.atlas.sources(name):
            if source == value.operands[0] and _is_single(value):
                continue
            form = self.atlas.form(source, name)
            if isinstance(form, Form) and is_emittable(form, self.atlas.view.tensors[name].dtype, self.dialect):
                yield _Best(self.costs.single(form, name) + self._price(source), source)

    def _keep(self, value: Affine) -> float:
        direct = self.atlas.form(value.operands[0], value.name) if len(set(value.operands)) == 1 else None
        price = self.costs.keep(value, direct if isinstance(direct, Form) else None)
        return price + sum(self._price(operand) for operand in set(_needed(value)))

    def _price(self, name: str) -> float:
        return 0.0 if self.is_free(name) else self.best[name].price


def _needed(value: Affine) -> tuple[str, ...]:
    """What its operator takes as it is; more than it is read from where a value that nothing can change is added."""
    others = (t.name for t in value.op.inputs if t is not None and t.constant is None and t.name not in value.operands)
    return (*value.operands, *others)


def _is_single(value: Affine) -> bool:
    """Whether its operator is already the one its form would be written as."""
    if value.rectifier or not isinstance(value.reading, Chain) or len(value.reading.steps) != 1:
        return False
    if set(_needed(value)) != set(value.operands):
        return False
    return value.op.op_type in ("Conv", "Gemm", "MatMul", "Add", "Mul")


def plan(atlas: Atlas, costs: CostModel) -> tuple[Region, ...]:
    """The cheapest way to compute every value that something else needs.

    Values that a nonlinear operator, a subgraph or the caller needs are computed whatever happens, so
    paths end there at no price; between them each affine value is one operator of any of its dominators
    or keeps its own. Time is linear in the number of values (regions.WINDOW bounds the dominators).
    """
    planner = _Planner(atlas, costs, required_values(atlas), dialect_of(atlas.view))
    planner.fill()
    chosen: dict[str, Choice] = {}
    todo = [name for name in planner.required if name in atlas.parents]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name in seen or name not in atlas.parents:
            continue
        seen.add(name)
        source = planner.best[name].source
        if source is None:
            todo.extend(_needed(atlas.affine[name]))
            continue
        form = atlas.form(source, name)
        if isinstance(form, Refused):
            raise AssertionError("a refused form was chosen")
        chosen[name] = Choice(name, source, form, between(atlas, source, name))
        todo.append(source)
    return tuple(_regions(atlas, chosen, planner))


def required_values(atlas: Atlas) -> frozenset[str]:
    """Affine values that exist whatever is chosen."""
    view, needed = atlas.view, set()
    for name in atlas.affine:
        users = [view.ops[at] for at in view.consumers.get(name, ())]
        if view.is_pinned(name) or any(not _is_planned(atlas, op.outputs) for op in users):
            needed.add(name)
    return frozenset(needed)


def _is_planned(atlas: Atlas, outputs: tuple[str, ...]) -> bool:
    """Whether every result that something uses is an affine value with a source."""
    view = atlas.view
    return all(name in atlas.parents for name in outputs if name in view.consumers or view.is_pinned(name))


def between(atlas: Atlas, source: str, name: str) -> tuple[str, ...]:
    """Labels of the operators on the paths from `source` to `name`, in graph order."""
    found: dict[str, str] = {}
    todo = [name]
    while todo:
        current = todo.pop()
        if current == source or current in found:
            continue
        value = atlas.affine[current]
        found[current] = value.op.label
        todo.extend(value.operands)
    return tuple(dict.fromkeys(reversed(list(found.values()))))


def _regions(atlas: Atlas, chosen: Mapping[str, Choice], planner: _Planner) -> Iterator[Region]:
    """Group the choices whose values hang together; in topological order."""
    groups: dict[str, list[Choice]] = {}
    home: dict[str, str] = {}
    for name in atlas.affine:
        if name not in chosen:
            continue
        choice = chosen[name]
        home[name] = home.get(choice.source, name)
        groups.setdefault(home[name], []).append(choice)
    for choices in groups.values():
        yield Region(choices[-1].value, tuple(choices), _gain(atlas, choices, planner.costs))


def _gain(atlas: Atlas, choices: list[Choice], costs: CostModel) -> float:
    after = sum(costs.single(choice.form, choice.value) for choice in choices)
    before, seen = 0.0, set()
    for choice in choices:
        todo = [choice.value]
        while todo:
            name = todo.pop()
            if name == choice.source or name in seen:
                continue
            seen.add(name)
            value = atlas.affine[name]
            direct = atlas.form(value.operands[0], name) if len(set(value.operands)) == 1 else None
            before += costs.keep(value, direct if isinstance(direct, Form) else None)
            todo.extend(value.operands)
    return before - after
