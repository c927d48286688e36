"""A collapse that may cost something: substitutes within a price, then what is exact, then the proof of the price."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from onnx_nepenthe.billing import bill_of, outcome_of
from onnx_nepenthe.budget import Buyer, Plan, open_shop
from onnx_nepenthe.errors import UsageError, VerificationError
from onnx_nepenthe.graph.serial import Model, digest
from onnx_nepenthe.inspection import find
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.metrics import metric_of
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Outcome, Price
from onnx_nepenthe.pricing import price
from onnx_nepenthe.samples import timing_feeds
from onnx_nepenthe.spending import Spending
from onnx_nepenthe.trial import compare_models
from onnx_nepenthe.workshop import Workshop

LOG = logging.getLogger(__name__)
Exact = Callable[[Model, str, Options], Outcome]
TRIES = 4
"""How many plans are tried on the verification data; each failure there cuts the next one down, so few are allowed."""
MARGIN = 0.9
"""Share of the budget that a plan may spend on the tuning data, as the plan is chosen on them."""


def collapse_within(model: Model, name: str, options: Options, exact: Exact) -> Outcome:
    """Collapse with `options.max_drop` or `options.target_speedup`.

    Fitting, tuning and verification data are disjoint. The drop is that of the final model against the
    input on the verification data; the promise is on the point estimate, the interval stands beside it.

    Args:
        model: onnx_ir, not changed.
        name: for the report.
        options: of the run.
        exact: the collapse without a price, which follows on the model with the substitutes.

    Raises:
        VerificationError: the price or the speed-up cannot be kept; nothing is to be written.
        UsageError: no data, or options that contradict each other.
    """
    check_budget(options)
    return buy(open_market(model, name, options, exact), options)


@dataclass(frozen=True, eq=False)
class Market:
    """What every budget on one model starts from.

    Attributes:
        shop: of the model.
        name: for the report.
        exact: the collapse without a price.
        timed: (candidate, milliseconds that its substitutes save by themselves) → the input against it.
        plain: what `exact` makes of the model.
        start: the input against that.
    """

    shop: Workshop
    name: str
    exact: Exact
    timed: Callable[[Model, float], Comparison]
    plain: Outcome
    start: Comparison
    _made: dict[str, tuple[Outcome, Model, Comparison]] = field(default_factory=dict)

    def made(self, spending: Spending, options: Options) -> tuple[Outcome, Model, Comparison]:
        """The exact collapse of what was bought, its result and the input against that; remembered.

        Budgets that lie close buy the same.
        """
        key = digest(spending.model)
        if key not in self._made:
            outcome = self.exact(spending.model, self.name, _free(options))
            result = spending.model if outcome.model is None else outcome.model
            latency = self.timed(result, _saved(spending) + composed_ms(outcome, options))
            self._made[key] = outcome, result, latency
        return self._made[key]

    @cached_property
    def buyer(self) -> Buyer:
        """Every substitute, scored alone, and plans of them; the longest part of the work, done once."""
        return Buyer(self.shop, *price(self.shop, self.start.before_ms))


def open_market(model: Model, name: str, options: Options, exact: Exact) -> Market:
    """Measure, split the data and collapse without a price; nothing is bought.

    Raises:
        UsageError: no data.
    """
    shop = open_shop(find(model, options), options)
    shop.original_scores("tuning")
    timed = _clock(shop, options)
    plain = exact(model, name, _free(options))
    start = timed(model if plain.model is None else plain.model, composed_ms(plain, options))
    return Market(shop, name, exact, timed, plain, start)


def composed_ms(outcome: Outcome, options: Options) -> float:
    """Milliseconds that exact compositions save, by another device's table; 0 where nothing is known of them.

    A region's gain is in seconds where operators are priced by their times. Those of substitutes are 0.
    """
    if options.latency != "measured":
        return 0.0
    return 1e3 * sum(region.gain for step in outcome.steps for region in step.regions)


def _free(options: Options) -> Options:
    return replace(options, max_drop=None, target_speedup=None)


def buy(market: Market, options: Options) -> Outcome:
    """The fastest model within `options.max_drop`, or the cheapest with `options.target_speedup`.

    Raises:
        VerificationError: the price or the speed-up cannot be kept.
    """
    shop, plain, start = market.shop, market.plain, market.start
    if options.target_speedup is not None and start.speedup >= options.target_speedup:
        return replace(plain, latency=start if start.pairs else None)
    buyer = market.buyer
    plan = _first(market, options)
    for _ in range(TRIES):
        if plan is None:
            break
        spending = buyer.spending(plan)
        bill = bill_of(shop, spending.model, spending, options)
        if _is_dear(bill):
            plan = buyer.cheaper(plan, _over(bill))
            continue
        outcome, result, latency = market.made(spending, options)
        bill = bill_of(shop, result, spending, options)
        LOG.info("drop %.2f points on verification data, %.2fx", bill.drop, latency.speedup)
        if _is_dear(bill):
            plan = buyer.cheaper(plan, _over(bill))
            continue
        if options.target_speedup is not None and latency.speedup < options.target_speedup:
            plan = buyer.for_gain(plan.gain_ms + (latency.after_ms - latency.before_ms / options.target_speedup) * 1.1)
            continue
        if latency.is_slower or (options.max_drop is not None and latency.low <= max(start.speedup, 1.0)):
            LOG.info("it is not clearly faster than what costs nothing, %.2fx", start.speedup)
            break
        return outcome_of(shop, outcome, spending, result, bill, latency if latency.pairs else None)
    return _failed(shop, plain, len(buyer.priced), options)


def _is_dear(bill: Price) -> bool:
    return bill.allowed is not None and bill.drop > bill.allowed


def _over(bill: Price) -> float:
    return bill.drop / max(bill.allowed or 0.0, 1e-9)


def _clock(shop: Workshop, options: Options) -> Callable[[Model, float], Comparison]:
    """(candidate, milliseconds that its substitutes save by themselves) → the input against it.

    Timed here, or by the sums of another device's table, which has no pairs to show.
    """
    feeds = timing_feeds(shop.findings, options) or {}
    rng = np.random.default_rng(options.seed)
    model, parts = shop.findings.model, shop.parts

    def timed(candidate: Model, saved_ms: float) -> Comparison:
        if not parts.table.is_closed:
            return compare_models(model, candidate, feeds, options.config, rng)
        before_ms = parts.model_ms(feeds)
        ratio = before_ms / max(before_ms - saved_ms, 1e-9)
        return Comparison(before_ms, before_ms / ratio, ratio, ratio, ratio, 1.0, 1.0, 0, "table", 0)

    return timed


def check_budget(options: Options) -> None:
    """Refuse options that contradict each other.

    Raises:
        UsageError: which, and what to give instead.
    """
    if options.max_drop is not None and options.target_speedup is not None:
        raise UsageError("--max-drop and --target-speedup exclude each other; give one")
    if options.max_drop is not None and not options.max_drop >= 0:
        raise UsageError(f"--max-drop must be 0 or more points, not {options.max_drop}")
    if options.target_speedup is not None and not options.target_speedup > 1:
        raise UsageError(f"--target-speedup must be above 1, not {options.target_speedup}")
    if options.data is None:
        raise UsageError("a budget needs data to spend it on; give --data")
    if options.metric:
        metric_of(options.metric)


def _first(market: Market, options: Options) -> Plan | None:
    start = market.start
    if options.target_speedup is not None:
        return market.buyer.for_gain(start.after_ms - start.before_ms / options.target_speedup)
    return market.buyer.within(MARGIN * (options.max_drop or 0.0))


def _saved(spending: Spending) -> float:
    return sum(one.gain_ms for one in spending.bought)


def _failed(shop: Workshop, plain: Outcome, considered: int, options: Options) -> Outcome:
    """No substitute fits the price: the exact collapse with its bill; an error when that breaks the promise too."""
    if options.target_speedup is not None:
        raise VerificationError(
            f"no model {options.target_speedup:g} times as fast was found on this provider; nothing was written. "
            "Ask for less, or prune and fine-tune first"
        )
    result = shop.findings.model if plain.model is None else plain.model
    bill = bill_of(shop, result, Spending(result, (), 0.0, considered), options)
    if options.max_drop is not None and bill.drop > options.max_drop:
        raise VerificationError(
            f"the price cannot be kept: {bill.drop:.2f} points lost on verification data, {options.max_drop:g} "
            "allowed; nothing was written. Give more data, or a higher --max-drop"
        )
    return replace(plain, price=bill)
