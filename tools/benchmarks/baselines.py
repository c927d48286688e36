"""What budgets are compared with: rectifiers removed one by one, in an order, while the data allow it.

The order is by layer entropy, by how much each costs alone, or by the sum of both ranks; a rectifier becomes the
identity (what EASIER does, here without its training) or a line fitted per channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from onnx_nepenthe.affine.maps import PerChannel
from onnx_nepenthe.budget import refit
from onnx_nepenthe.budgeted import MARGIN, TRIES, Market, buy, open_market
from onnx_nepenthe.errors import VerificationError
from onnx_nepenthe.fit import Fitting
from onnx_nepenthe.graph.load import load
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.metrics import paired_drop
from onnx_nepenthe.options import Options
from onnx_nepenthe.pipeline import collapse
from onnx_nepenthe.spending import Spending
from onnx_nepenthe.substitutes import Substitute
from onnx_nepenthe.workshop import Made, Workshop

Maker = Callable[[Workshop, Sequence[Substitute]], tuple[Made, ...]]
OURS = "ours"


def identities(shop: Workshop, chosen: Sequence[Substitute]) -> tuple[Made, ...]:
    """Rectifiers replaced by what goes in."""
    return tuple(Made(one, Fitting(PerChannel(None, np.ones(1), np.zeros(1)), 1.0)) for one in chosen)


BASELINES: Mapping[str, tuple[Maker, str]] = {
    "identity by entropy (EASIER, untrained)": (identities, "entropy of all neurons"),
    "lines by entropy": (refit, "entropy"),
    "lines by sensitivity": (refit, "sensitivity"),
    "lines by both": (refit, "both"),
}
METHODS = (OURS, *BASELINES)


@dataclass(frozen=True, eq=False)
class Bench:
    """One model with its data.

    Attributes:
        market: what every method starts from.
        options: of exact collapses.
        lines: a substitute per rectifier that is no line already, in graph order.
    """

    market: Market
    options: Options
    lines: tuple[Substitute, ...]
    _drops: dict[tuple[str, int], float] = field(default_factory=dict)

    @property
    def shop(self) -> Workshop:
        """To fit and score with."""
        return self.market.shop

    @property
    def input(self) -> Model:
        """The model itself."""
        model: Model = self.shop.findings.model
        return model

    def drop(self, made: Sequence[Made]) -> float:
        """Points on the tuning data."""
        return self.shop.drop_and_proxy(self.shop.build(made), None)[0]

    def lost(self, model: Model) -> tuple[float, float, float]:
        """Points on the verification data and their interval."""
        before, after = self.shop.original_scores("verification"), self.shop.scores(model, "verification")
        return paired_drop(before, after, np.random.default_rng(0))

    @cached_property
    def orders(self) -> dict[str, tuple[Substitute, ...]]:
        """Name → lines, the first to go first."""
        counts = {} if self.shop.findings.measurement is None else self.shop.findings.measurement.counts
        seen = {line: counts.get(next(iter(line.rectifiers))) for line in self.lines}
        entropy = {line: np.inf if c is None else c.layer_entropy() for line, c in seen.items()}
        easier = {line: np.inf if c is None else c.layer_entropy("above", "all") for line, c in seen.items()}
        alone = {line: self.shop.drop_and_proxy(self.shop.build(refit(self.shop, [line])), None) for line in self.lines}
        ranked = {
            "entropy": sorted(self.lines, key=lambda line: entropy[line]),
            "entropy of all neurons": sorted(self.lines, key=lambda line: easier[line]),
            "sensitivity": sorted(self.lines, key=lambda line: alone[line][:2]),
        }
        places = [{line: at for at, line in enumerate(ranked[name])} for name in ("entropy", "sensitivity")]
        ranked["both"] = sorted(self.lines, key=lambda line: (places[0][line] + places[1][line], places[1][line]))
        return {name: tuple(lines) for name, lines in ranked.items()}

    def drop_of_first(self, method: str, count: int) -> float:
        """Points on the tuning data once the first `count` are gone; remembered."""
        key = (method, count)
        if key not in self._drops:
            self._drops[key] = self.drop(self.first(method, count))
        return self._drops[key]

    def first(self, method: str, count: int) -> tuple[Made, ...]:
        """The first `count` rectifiers of a baseline, made."""
        maker, order = BASELINES[method]
        return maker(self.shop, self.orders[order][:count])


def opened(path: str, options: Options) -> Bench:
    """The model at `path`."""
    market = open_market(load(path), path, options, collapse)
    lines = tuple(one for one in market.shop.substitutes if one.kind == "line")
    return Bench(market, options, lines)


def made_by(method: str, bench: Bench, allowed: float) -> Model:
    """The model that a method makes for so many points; the input where it makes none."""
    return _ours(bench, allowed) if method == OURS else _baseline(bench, method, allowed)


def _ours(bench: Bench, allowed: float) -> Model:
    try:
        return buy(bench.market, replace(bench.options, max_drop=allowed)).model or bench.input
    except VerificationError:
        return bench.input


def _baseline(bench: Bench, method: str, allowed: float) -> Model:
    """As many as the tuning data allow, then fewer while the verification data do not: the rules are those of ours."""
    count = 0
    while count < len(bench.lines) and bench.drop_of_first(method, count + 1) <= MARGIN * allowed:
        count += 1
    for kept in range(count, max(0, count - TRIES), -1):
        model: Model = bench.shop.build(bench.first(method, kept))
        result = bench.market.made(Spending(model, (), 0.0, 0), bench.options)[1]
        if bench.lost(result)[0] <= allowed:
            return result
    plain = bench.market.plain.model or bench.input
    return plain if bench.lost(plain)[0] <= allowed else bench.input
