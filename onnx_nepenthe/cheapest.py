"""The cheapest way to compute what is required: a shortest path in which a shared value is paid once.

Where every value has one user the dynamic programme over prices is exact. A value that several others can start
from would be paid once per user in it, so that each of them alone may shun it; giving it away is tried as well, and
what is compared is the price of all that is computed in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

MOST_WORK = 100_000
"""Trials times values of one component; above it only nothing and everything are given away."""


@dataclass(frozen=True)
class Part:
    """One summand of a sum that is made anew.

    Attributes:
        name: the summand.
        source: where its operator starts; the summand itself where it stays what it is.
        price: of that operator as it was; None where only a bound is known.
    """

    name: str
    source: str
    price: float | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it stays what it is."""
        return self.name == self.source


@dataclass(frozen=True)
class Option:
    """One way to compute a value.

    Attributes:
        price: of its own operator.
        needs: the values it starts from; those without options of their own are there for nothing.
        source: where a single operator starts, None to keep the operator there is.
        is_bound: whether the price is only known to be no lower.
        parts: of a sum that is made anew; empty for a single operator.
    """

    price: float
    needs: tuple[str, ...]
    source: str | None
    is_bound: bool = False
    parts: tuple[Part, ...] = ()


Options = dict[str, tuple[Option, ...]]
"""In topological order; of equal prices the first option wins."""
Settle = Callable[[str, Option], Option | None]
"""The option of a value with its real price; None where there is none after all."""


def at_its_bound(name: str, option: Option) -> Option:
    """Takes the bound for the price."""
    return replace(option, is_bound=False)


def cheapest(options: Options, required: Collection[str], settle: Settle = at_its_bound) -> dict[str, Option]:
    """The option of every value that is computed, in topological order.

    A price that is only a bound is settled once the option would be taken: what is dearer at best is never looked at.

    Exact for chains and trees; elsewhere never dearer than computing every shared value once. Time is linear in the
    number of values, as components are cut off by what is required.

    >>> keep, jump = Option(3.0, ("a",), None), Option(4.0, ("x",), "x")
    >>> found = cheapest({"a": (Option(2.0, ("x",), None),), "b": (keep, jump)}, {"b"})
    >>> {name: option.source for name, option in found.items()}
    {'b': 'x'}
    """
    required = frozenset(required)
    chosen: dict[str, Option] = {}
    for names in _components(options, required):
        chosen.update(_settled({name: options[name] for name in names}, required, settle))
    return {name: chosen[name] for name in options if name in chosen}


def _settled(options: Options, required: frozenset[str], settle: Settle) -> dict[str, Option]:
    while True:
        best = _solve(options, required)
        unsure = {name: option for name, option in best.items() if option.is_bound}
        if not unsure:
            return best
        for name, option in unsure.items():
            found = settle(name, option)
            others = (found if way is option else way for way in options[name])
            options[name] = tuple(way for way in others if way is not None)


def _solve(options: Options, required: frozenset[str]) -> dict[str, Option]:
    shared = _shared(options, required)
    best = _attempt(options, required, frozenset())
    if not shared:
        return best
    total, given = _total(best), frozenset[str]()
    is_small = len(shared) * len(options) <= MOST_WORK
    trials: Iterable[frozenset[str]] = [frozenset(shared), *(frozenset({name}) for name in shared if is_small)]
    for toggled in trials:
        found = _attempt(options, required, given ^ toggled)
        if (price := _total(found)) < total:
            best, total, given = found, price, given ^ toggled
    return best


def _attempt(options: Options, required: frozenset[str], given: frozenset[str]) -> dict[str, Option]:
    """What is computed when each value takes its cheapest option and those in `given` seem to cost nothing."""
    taken: dict[str, Option] = {}
    prices: dict[str, float] = {}
    for name, ways in options.items():
        priced = [(way.price + sum(prices.get(need, 0.0) for need in way.needs), way) for way in ways]
        price, taken[name] = min(priced, key=lambda pair: pair[0])
        prices[name] = 0.0 if name in required or name in given else price
    used: dict[str, Option] = {}
    wanted = {name for name in options if name in required}
    for name in reversed(options):
        if name in wanted:
            used[name] = taken[name]
            wanted.update(taken[name].needs)
    return used


def _total(used: Mapping[str, Option]) -> float:
    return sum(option.price for option in used.values())


def _shared(options: Options, required: frozenset[str]) -> list[str]:
    """Values that may be started from twice: those with a fork behind them, or a required value that others use."""
    users: dict[str, int] = {}
    forked: set[str] = set()
    found: list[str] = []
    for name in reversed(options):
        needs = options[name][0].needs
        if name in forked or users.get(name, 0) > (0 if name in required else 1):
            forked.update(needs)
            found += [] if name in required else [name]
        for need in needs:
            users[need] = users.get(need, 0) + 1
    return found[::-1]


def _components(options: Options, required: frozenset[str]) -> list[list[str]]:
    """Values whose prices depend on each other, each group in topological order."""
    home: dict[str, str] = {}

    def root(name: str) -> str:
        while home[name] != name:
            home[name] = home[home[name]]
            name = home[name]
        return name

    for name, ways in options.items():
        home[name] = name
        for need in {need: None for way in ways for need in way.needs}:
            if need in home and need not in required:
                home[root(name)] = root(need)
    groups: dict[str, list[str]] = {}
    for name in options:
        groups.setdefault(root(name), []).append(name)
    return list(groups.values())
