"""Spend a stated price on substitutes: choose by what each costs alone, make them together, correct by the sum."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.inspection import Findings
from onnx_nepenthe.knapsack import least_drop, most_gain
from onnx_nepenthe.latency.sizes import run_sizes
from onnx_nepenthe.options import Options
from onnx_nepenthe.samples import timing_feeds
from onnx_nepenthe.scale import Loss, Scale
from onnx_nepenthe.spending import Priced, Spending
from onnx_nepenthe.substitutes import Substitute
from onnx_nepenthe.sweeping import Care, sweep
from onnx_nepenthe.workshop import Made, Workshop

LOG = logging.getLogger(__name__)
ROUNDS = 6
"""How often a plan is corrected against the real metric."""
MOVES = 4
"""How many single changes of the best plan are tried and found too dear."""
HOPE = 1.1
"""A change is tried where it is expected to cost at most so many times the budget."""
ROWS = 32_768
"""Rows of a regression."""
NEXT = 0.85
"""Share of what a plan costs that the next one may, after it turned out too dear on verification data …"""
MOST_OVER = 2.0
"""… where it was allowed this many times less at most, so that one unlucky count does not decide all."""


def open_shop(findings: Findings, options: Options) -> Workshop:
    """The workshop of a model.

    Raises:
        UsageError: there are no data.
    """
    feeds = timing_feeds(findings, options)
    if findings.source is None or feeds is None:
        raise UsageError("a budget needs data to spend it on; give --data")
    return Workshop(findings, options, run_sizes(findings.model, findings.view, feeds, options.config))


@dataclass(frozen=True, eq=False)
class Plan:
    """Substitutes made together.

    Attributes:
        chosen: their positions among those priced, in order.
        made: them and the operators that were mended, in graph order.
        loss: on the tuning data.
        gain_ms: milliseconds that they save one by one.
    """

    chosen: tuple[int, ...]
    made: tuple[Made, ...]
    loss: Loss
    gain_ms: float


@dataclass
class Buyer:
    """Finds plans for budgets; what was made for one budget is remembered for the next.

    Attributes:
        shop: of the model.
        priced: substitutes, scored alone.
        scale: what distances say about points; learns from every plan.
    """

    shop: Workshop
    priced: Sequence[Priced]
    scale: Scale
    _plans: dict[tuple[int, ...], Plan] = field(default_factory=dict)

    def within(self, budget: float) -> Plan | None:
        """The plan that saves most time for at most `budget` points; None when there is none."""
        best: Plan | None = None
        limit, seen = budget, set[tuple[int, ...]]()
        for round_ in range(ROUNDS):
            self.shop.options.progress("choosing", round_, ROUNDS)
            chosen = self._solve(most_gain, limit)
            if not chosen or chosen in seen:
                limit *= 1.3 if not chosen or (best is not None and chosen == best.chosen) else 0.85
                continue
            seen.add(chosen)
            plan = self.plan(chosen)
            best = self._better(best, plan, budget)
            limit *= _correction(budget, self.points(plan))
        return self._improved(best, budget)

    def for_gain(self, wanted_ms: float) -> Plan | None:
        """The plan that saves at least `wanted_ms` at the least price; None when all together save less."""
        chosen = self._solve(least_drop, wanted_ms)
        return self.plan(chosen) if chosen else None

    def cheaper(self, plan: Plan, over: float = 1.0) -> Plan | None:
        """The best plan that costs clearly less; None when there is none.

        Args:
            plan: one that cost too much.
            over: what it cost, relative to what it was allowed to.
        """
        most = NEXT * self.points(plan) / min(max(over, 1.0), MOST_OVER)
        worst = min(plan.chosen, key=lambda at: self.priced[at].gain_ms / max(self.priced[at].drop, 0.05))
        rest = tuple(at for at in plan.chosen if at != worst)
        if rest:
            self.plan(rest)
        known = [one for one in self._plans.values() if one.gain_ms < plan.gain_ms and self.points(one) <= most]
        return max(known, key=lambda one: one.gain_ms) if known else self.within(most)

    def plan(self, chosen: tuple[int, ...]) -> Plan:
        """The plan of these positions, made and measured."""
        chosen = tuple(sorted(chosen))
        if chosen not in self._plans:
            shop, limit = self.shop, self.shop.options.fit_limit
            tape = shop.tape("fitting", limit)
            care = Care(share=ROWS / shop.fitted_on(limit))
            made = sweep(shop, [self.priced[at].made.substitute for at in chosen], tape, care)
            loss = shop.judge.loss(shop.build(made))
            self.scale.learn(loss)
            gain = sum(self.priced[at].gain_ms for at in chosen)
            self._plans[chosen] = Plan(chosen, made, loss, gain)
            LOG.info("%d substitutes save %.3f ms: %s, %.2f points", len(chosen), gain, loss, self.scale.points(loss))
        return self._plans[chosen]

    def points(self, plan: Plan) -> float:
        """What a plan is expected to cost on other data."""
        return self.scale.points(plan.loss)

    def spending(self, plan: Plan) -> Spending:
        """The plan as it is paid for."""
        made = {one.substitute: one for one in plan.made}
        entries = [self.priced[at] for at in plan.chosen]
        bought = tuple(Priced(made[one.made.substitute], one.drop, one.gain_ms) for one in entries)
        refits = tuple(one for one in plan.made if one.substitute.site is not None)
        return Spending(self.shop.build(plan.made), bought, plan.loss.drop, len(self.priced), refits)

    def _solve(self, solver: Callable[..., tuple[int, ...]], limit: float) -> tuple[int, ...]:
        entries = self.priced
        found = solver(
            [p.made.substitute for p in entries], [p.gain_ms for p in entries], [p.drop for p in entries], limit
        )
        return tuple(sorted(found))

    def _better(self, best: Plan | None, plan: Plan, budget: float) -> Plan | None:
        if self.points(plan) > budget or (best is not None and plan.gain_ms <= best.gain_ms):
            return best
        return plan

    def _improved(self, best: Plan | None, budget: float) -> Plan | None:
        """Put one substitute in, and those out that it overlaps, while that saves time and the budget holds."""
        misses, tried = 0, set[tuple[int, ...]]()
        while misses < MOVES:
            chosen = next((one for one in self._changes(best, budget) if one not in tried), None)
            if chosen is None:
                break
            tried.add(chosen)
            self.shop.options.progress("improving", misses, MOVES)
            better = self._better(best, self.plan(chosen), budget)
            misses += better is best
            best = better
        return best

    def _changes(self, best: Plan | None, budget: float) -> Iterator[tuple[int, ...]]:
        """Single changes that save time and may be affordable, what saves most first."""
        chosen = () if best is None else best.chosen
        alone = sum(self.priced[at].drop for at in chosen)
        times = 1.0 if best is None or alone <= 0 else max(1.0, self.points(best) / alone)
        found: list[tuple[float, tuple[int, ...]]] = []
        for at, entry in enumerate(self.priced):
            if at in chosen:
                continue
            stay = [o for o in chosen if not self.priced[o].made.substitute.overlaps(entry.made.substitute)]
            every = tuple(sorted((*stay, at)))
            gain = sum(self.priced[o].gain_ms for o in every) - (0.0 if best is None else best.gain_ms)
            if gain > 0 and times * sum(self.priced[o].drop for o in every) <= HOPE * budget:
                found.append((gain, every))
        yield from (every for _, every in sorted(found, reverse=True))


def refit(shop: Workshop, chosen: Sequence[Substitute]) -> tuple[Made, ...]:
    """Fit one after the other, first ones first, and mend nothing behind them."""
    made: dict[Substitute, Made] = {}
    for substitute in sorted(chosen, key=lambda one: shop.position(one.target)):
        made[substitute] = shop.made_after(substitute, tuple(made.values()))
    return tuple(made[substitute] for substitute in chosen)


def _correction(budget: float, points: float) -> float:
    """Single drops do not add up; scales the limit so that the next plan should just use the budget."""
    if points <= 0.2 * budget:
        return 1.5
    ratio = min(max(budget / points, 0.4), 1.6)
    return 0.97 * ratio if points > budget else max(1.03, 0.98 * ratio)
