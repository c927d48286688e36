"""Choose which affine values become single operators: a shortest path over costs, not a pattern."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import is_identity
from onnx_nepenthe.cheapest import Option, cheapest
from onnx_nepenthe.emit import Dialect, dialect_of, is_emittable
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.ops.base import Chain
from onnx_nepenthe.prices import CostModel
from onnx_nepenthe.regions import Affine, Atlas


def is_nothing(form: Form) -> bool:
    """Whether the form is that of the source itself."""
    return form.is_straight and is_identity(form.core)


@dataclass(frozen=True, eq=False)
class Choice:
    """Compute `value` from `source` by `form`, as one operator.

    Attributes:
        value, source: names in the graph.
        form: how.
        replaced: labels of the operators between the two.
        beside: what is added, (source, form) each; exact collapses have none.
    """

    value: str
    source: str
    form: Form
    replaced: tuple[str, ...]
    beside: tuple[tuple[str, Form], ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether the value is the source itself, so that no operator computes it."""
        return is_nothing(self.form) and not self.beside


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


def _options(atlas: Atlas, costs: CostModel) -> dict[str, tuple[Option, ...]]:
    """By affine value: keep its operator, or one operator from any of its dominators.

    Forms are dropped once every affine value that starts from them is priced, so that memory follows the width of
    the graph and not its length.
    """
    dialect, done = dialect_of(atlas.view), _done_with(atlas)
    options: dict[str, tuple[Option, ...]] = {}
    for name, value in atlas.affine.items():
        if name in atlas.parents:
            options[name] = (_kept(atlas, costs, value), *_singles(atlas, costs, dialect, value))
        if done[name]:
            atlas.forget(*done[name])
    return options


def _done_with(atlas: Atlas) -> dict[str, list[str]]:
    """Affine value → the values that no later one starts from."""
    last: dict[str, str] = {}
    for name, value in atlas.affine.items():
        last.update(dict.fromkeys((*value.operands, name), name))
    done: dict[str, list[str]] = {name: [] for name in atlas.affine}
    for name, user in last.items():
        done[user].append(name)
    return done


def _kept(atlas: Atlas, costs: CostModel, value: Affine) -> Option:
    return Option(costs.keep(value, _direct(atlas, value)), tuple(dict.fromkeys(_needed(value))), None)


def _singles(atlas: Atlas, costs: CostModel, dialect: Dialect, value: Affine) -> Iterator[Option]:
    dtype = atlas.view.tensors[value.name].dtype
    for source in atlas.sources(value.name):
        form = atlas.form(source, value.name)
        if isinstance(form, Refused) or (source == value.operands[0] and _is_same(value, form, atlas.view)):
            continue
        if is_emittable(form, dtype, dialect):
            yield Option(costs.single(form, value.name), (source,), source)


def _direct(atlas: Atlas, value: Affine) -> Form | None:
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
    {"Conv", "Gemm", "MatMul", "Add", "Mul", "GlobalAveragePool", "Transpose", "Reshape", "Flatten"}
)


def plan(atlas: Atlas, costs: CostModel) -> tuple[Region, ...]:
    """The cheapest way to compute every value that something else needs.

    Values that a nonlinear operator, a subgraph or the caller needs are computed whatever happens, so
    paths end there at no price; between them each affine value is one operator of any of its dominators
    or keeps its own. Time is linear in the number of values (regions.WINDOW bounds the dominators).
    """
    required = required_values(atlas)
    chosen: dict[str, Choice] = {}
    for name, option in cheapest(_options(atlas, costs), required).items():
        if option.source is None:
            continue
        form = atlas.form(option.source, name)
        if isinstance(form, Refused):
            raise AssertionError("a refused form was chosen")
        chosen[name] = Choice(name, option.source, form, between(atlas, option.source, name))
        atlas.forget(*atlas.path(option.source, name))
    return tuple(_regions(atlas, chosen, costs))


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
    """Labels of the operators on the paths from `source` to `name`, operands first."""
    return tuple(dict.fromkeys(atlas.affine[value].op.label for value in atlas.path(source, name)))


def _regions(atlas: Atlas, chosen: Mapping[str, Choice], costs: CostModel) -> Iterator[Region]:
    """Group the choices whose values hang together; in topological order.

    What needs no operator stands alone: it cannot be slower, whatever becomes of its neighbours.
    """
    groups: dict[str, list[Choice]] = {}
    home: dict[str, str] = {}
    for name in atlas.affine:
        if name not in chosen:
            continue
        choice = chosen[name]
        if choice.is_nothing:
            groups[name] = [choice]
            continue
        home[name] = home.get(choice.source, name)
        groups.setdefault(home[name], []).append(choice)
    for choices in groups.values():
        yield Region(choices[-1].value, tuple(choices), _gain(atlas, choices, costs))


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
            before += costs.keep(value, _direct(atlas, value))
            todo.extend(value.operands)
    return before - after
