"""Choose which affine values become single operators: a shortest path over costs, not a pattern."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.cheapest import cheapest
from onnx_nepenthe.emit import dialect_of
from onnx_nepenthe.prices import CostModel
from onnx_nepenthe.regions import Atlas
from onnx_nepenthe.ways import Ways, direct, is_nothing


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


def plan(atlas: Atlas, costs: CostModel) -> tuple[Region, ...]:
    """The cheapest way to compute every value that something else needs.

    Values that a nonlinear operator, a subgraph or the caller needs are computed whatever happens, so
    paths end there at no price; between them each affine value is one operator of any of its dominators
    or keeps its own. Time is linear in the number of values (regions.WINDOW bounds the dominators).
    """
    required = required_values(atlas)
    ways = Ways(atlas, costs, dialect_of(atlas.view))
    chosen: dict[str, Choice] = {}
    for name, option in cheapest(ways.options(), required, ways.settle).items():
        if option.source is None:
            continue
        form = ways.chosen(option.source, name)
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
            before += costs.keep(value, direct(atlas, value))
            todo.extend(value.operands)
    return before - after
