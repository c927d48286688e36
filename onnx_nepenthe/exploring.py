"""`collapse --pareto`: one model per budget from the same measurements, fits and timings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from onnx_nepenthe.billing import bill_of
from onnx_nepenthe.budgeted import Exact, Market, buy, check_budget, composed_ms, open_market
from onnx_nepenthe.errors import UsageError, VerificationError
from onnx_nepenthe.frontier import Frontier, Missing, Point, front_of
from onnx_nepenthe.graph.serial import Model, digest
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Outcome
from onnx_nepenthe.spending import Spending

LOG = logging.getLogger(__name__)
UPPER = 4.0
"""Points of the largest budget, where none is given."""
STEPS = (0.0, 0.125, 0.25, 0.5, 1.0)
"""Shares of it that are tried."""
SAME = "the model of a smaller budget is the best there is"


def ladder(options: Options, drops: Sequence[float]) -> tuple[float, ...]:
    """The budgets to try, in points, from the least on.

    >>> ladder(Options(max_drop=2.0), ())
    (0.0, 0.25, 0.5, 1.0, 2.0)
    >>> ladder(Options(max_drop=1.0), (3.0, 0.5, 0.0))
    (0.0, 0.5)

    Raises:
        UsageError: one is negative, or all are above `options.max_drop`.
    """
    upper = options.max_drop
    if any(not drop >= 0 for drop in drops):
        raise UsageError("--drops must be 0 or more points each")
    wanted = drops or [(UPPER if upper is None else upper) * step for step in STEPS]
    kept = tuple(sorted({float(drop) for drop in wanted if upper is None or drop <= upper}))
    if not kept:
        raise UsageError(f"all of --drops are above --max-drop {upper:g}; leave one of the two out")
    return kept


def explore(model: Model, name: str, options: Options, drops: Sequence[float], exact: Exact) -> Frontier:
    """The front of `model` (onnx_ir, not changed).

    Every budget starts from one measurement, one set of scored substitutes and one latency table. All points are on the
    same verification data, so that who picks among them picks the luckiest too.

    Args:
        model: what to collapse.
        name: for the report.
        options: of the run; `max_drop` is the largest budget.
        drops: the budgets in points; made from `max_drop` when empty.
        exact: the collapse without a price.

    Raises:
        UsageError: no data, a target for the speed, or budgets that make no sense.
    """
    budgets = ladder(options, drops)
    if options.target_speedup is not None:
        raise UsageError("--pareto shows all speeds; leave out --target-speedup")
    free = replace(options, max_drop=None)
    check_budget(free)
    market = open_market(model, name, free, exact)
    first = _exact(market, free)
    seen = {digest(_model(market, first.outcome))}
    points: list[Point] = []
    missing: list[Missing] = []
    for at, allowed in enumerate(budgets):
        options.progress("budgets", at, len(budgets))
        try:
            outcome = buy(market, replace(options, max_drop=allowed))
        except VerificationError as error:
            missing.append(Missing(allowed, str(error)))
            continue
        found = digest(_model(market, outcome))
        if found in seen:
            missing.append(Missing(allowed, SAME))
            continue
        seen.add(found)
        points.append(_point(market, outcome, allowed, options))
    front = front_of(first, points)
    return replace(front, missing=tuple(sorted((*missing, *front.missing), key=lambda one: one.allowed)))


def _model(market: Market, outcome: Outcome) -> Model:
    return market.shop.findings.model if outcome.model is None else outcome.model


def _exact(market: Market, options: Options) -> Point:
    plain = market.plain
    nothing = Spending(_model(market, plain), (), 0.0, 0)
    price = bill_of(market.shop, nothing.model, nothing, options)
    latency = plain.latency or market.start
    if plain.model is None:
        # It is the input: what a timing would show is noise.
        latency = replace(latency, after_ms=latency.before_ms, speedup=1.0, low=1.0, high=1.0, pairs=0)
    return Point(replace(plain, price=price), price, latency, None)


def _point(market: Market, outcome: Outcome, allowed: float, options: Options) -> Point:
    if outcome.price is None:
        raise AssertionError("a budget without a price")
    saved = sum(one.gain_ms for one in outcome.price.substitutes) + composed_ms(outcome, options)
    latency: Comparison = outcome.latency or market.timed(_model(market, outcome), saved)
    return Point(outcome, outcome.price, latency, allowed)
