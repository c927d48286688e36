"""Choose which affine values become single operators: a shortest path over costs, not a pattern."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.cheapest import cheapest
from onnx_nepenthe.emit import dialect_of
from onnx_nepenthe.lifting import inside_of, lined_sums
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
        beside: what is added, (source, form) each; in exact collapses the other summands of a sum that has taken in the
            line behind it.
    """

    value: str
    source: str
    form: Form
    replaced: tuple[str, ...]
    beside: tuple[tuple[str, Form], ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """All values that it starts from."""
        return (self.source, *(source for source, _ in self.beside))

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
    sums = lined_sums(atlas)
    required = _required(atlas, inside_of(sums))
    ways = Ways(atlas, costs, dialect_of(atlas.view), sums)
    chosen: dict[str, Choice] = {}
    prices: dict[str, float] = {}
    for name, option in cheapest(ways.options(), required, ways.settle).items():
        if option.source is None:
            continue
        (source, form), *beside = ways.chosen(name, option)
        chosen[name] = Choice(name, source, form, between(atlas, source, name, *option.needs), tuple(beside))
        prices[name] = option.price
        atlas.forget(*atlas.path(source, name, *option.needs))
    return tuple(_regions(atlas, chosen, prices, costs))


def required_values(atlas: Atlas) -> frozenset[str]:
    """Affine values that exist whatever is chosen."""
    return _required(atlas, inside_of(lined_sums(atlas)))


def _required(atlas: Atlas, inside: frozenset[str]) -> frozenset[str]:
    view, needed = atlas.view, set()
    for name in atlas.affine:
        users = [view.ops[at] for at in view.consumers.get(name, ())]
        if view.is_pinned(name) or any(not _is_planned(atlas, op.outputs, inside) for op in users):
            needed.add(name)
    return frozenset(needed)


def _is_planned(atlas: Atlas, outputs: tuple[str, ...], inside: frozenset[str]) -> bool:
    """Whether every result that something uses is an affine value with a source, or inside a sum with a line behind."""
    used = (name for name in outputs if name in atlas.view.consumers or atlas.view.is_pinned(name))
    return all(name in atlas.parents or name in inside for name in used)


def passed_by(atlas: Atlas, choice: Choice) -> list[str]:
    """The affine values on the way to the choice's, itself included, operands first."""
    return atlas.path(choice.source, choice.value, *choice.sources)


def between(atlas: Atlas, source: str, name: str, *others: str) -> tuple[str, ...]:
    """Labels of the operators on the paths from `source` or one of `others` to `name`, operands first."""
    return tuple(dict.fromkeys(atlas.affine[value].op.label for value in atlas.path(source, name, *others)))


def _regions(
    atlas: Atlas, chosen: Mapping[str, Choice], prices: Mapping[str, float], costs: CostModel
) -> Iterator[Region]:
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
        gain = _before(atlas, choices, costs) - sum(prices[choice.value] for choice in choices)
        yield Region(choices[-1].value, tuple(choices), gain)


def _before(atlas: Atlas, choices: list[Choice], costs: CostModel) -> float:
    """The price of what the choices replace, as it is."""
    before, seen = 0.0, set()
    for choice in choices:
        todo = [choice.value]
        while todo:
            name = todo.pop()
            if name in choice.sources or name in seen:
                continue
            seen.add(name)
            value = atlas.affine[name]
            before += costs.keep(value, direct(atlas, value))
            todo.extend(value.operands)
    return before
