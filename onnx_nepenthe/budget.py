"""Spend a stated price on substitutes: fit, score each alone, choose, build, correct against the real metric."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.inspection import Findings
from onnx_nepenthe.knapsack import most_gain
from onnx_nepenthe.options import Options
from onnx_nepenthe.samples import timing_feeds
from onnx_nepenthe.substitutes import Substitute, substitutes
from onnx_nepenthe.trial import run_sizes
from onnx_nepenthe.workshop import Made, Workshop, chunks

LOG = logging.getLogger(__name__)
AT_ONCE = 24
"""Substitutes fitted in one pass over the data."""
WORST_RESIDUAL = 0.6
"""A fit that leaves more of the target's variance than this is not tried."""
ROUNDS = 8
"""How often a plan is corrected against the real metric."""


@dataclass(frozen=True, eq=False)
class Priced:
    """A substitute that was scored alone.

    Attributes:
        made: with its map.
        drop: points of the metric on the tuning data.
        gain_ms: milliseconds it saves.
    """

    made: Made
    drop: float
    gain_ms: float


@dataclass(frozen=True, eq=False)
class Spending:
    """What was bought.

    Attributes:
        model: with the substitutes.
        bought: the substitutes, refitted, with what each costs and saves alone.
        drop: points on the tuning data of all together.
        metric: name of the metric.
        considered: how many substitutes were scored.
    """

    model: Model
    bought: tuple[Priced, ...]
    drop: float
    metric: str
    considered: int


def spend(findings: Findings, options: Options, budget: float) -> tuple[Spending | None, Workshop]:
    """The substitutes that save most time for at most `budget` points on the tuning data; None when none do.

    Raises:
        UsageError: no data, too few of them, or an unknown metric.
    """
    feeds = timing_feeds(findings, options)
    if findings.source is None or feeds is None:
        raise UsageError("a budget needs data to spend it on; give --data")
    shop = Workshop(findings, options, run_sizes(findings.model, findings.view, feeds, options.config))
    priced = price(shop)
    LOG.info("%d substitutes scored", len(priced))
    best: tuple[tuple[Made, ...], float, tuple[int, ...]] | None = None
    limit = budget
    tried: set[tuple[int, ...]] = set()
    for round_ in range(ROUNDS):
        options.progress("choosing", round_, ROUNDS)
        chosen = choose(priced, limit)
        if not chosen or chosen in tried:
            break
        tried.add(chosen)
        made = refit(shop, [priced[at].made.substitute for at in chosen])
        drop = drop_of(shop, made)
        LOG.info("limit %.2f: %d substitutes, drop %.2f points", limit, len(made), drop)
        if drop <= budget and (best is None or _gain(priced, chosen) > _gain(priced, best[2])):
            best = (made, drop, chosen)
        limit = _next_limit(limit, budget, drop)
    if best is None:
        return None, shop
    best = improve(shop, priced, best, budget)
    bought = tuple(Priced(m, priced[at].drop, priced[at].gain_ms) for m, at in zip(best[0], best[2], strict=True))
    return Spending(shop.build(best[0]), bought, best[1], shop.metric, len(priced)), shop


def price(shop: Workshop) -> list[Priced]:
    """Fit, time and score every substitute alone; those that save nothing or fit badly fall out."""
    linearised = shop.findings.linearised
    curved = tuple(entry.rectifier for entry in linearised.undecided.values())
    every = substitutes(shop.findings.view, curved, shop.dims)
    shop.scores(shop.findings.model, "tuning")
    priced: list[Priced] = []
    done = 0
    for some in chunks(every, AT_ONCE):
        for substitute, fitting in zip(some, shop.fit(some), strict=True):
            done += 1
            shop.options.progress("scoring substitutes", done, len(every))
            made = Made(substitute, fitting)
            if fitting.residual > WORST_RESIDUAL:
                continue
            gain = shop.gain_ms(made)
            if gain > 0:
                priced.append(Priced(made, drop_of(shop, [made]), gain))
    return priced


def choose(priced: Sequence[Priced], limit: float) -> tuple[int, ...]:
    """Positions of the best substitutes by their single drops and gains."""
    return most_gain([p.made.substitute for p in priced], [p.gain_ms for p in priced], [p.drop for p in priced], limit)


def refit(shop: Workshop, chosen: Sequence[Substitute]) -> tuple[Made, ...]:
    """Fit one after the other, first ones first: inputs from the net as it is by then, targets from the original."""
    position = {name: at for at, name in enumerate(shop.findings.view.tensors)}
    made: dict[Substitute, Made] = {}
    for substitute in sorted(chosen, key=lambda one: position[one.target]):
        made[substitute] = Made(substitute, shop.fit([substitute], tuple(made.values()))[0])
    return tuple(made[substitute] for substitute in chosen)


def drop_of(shop: Workshop, made: Sequence[Made]) -> float:
    """Points lost on the tuning data."""
    before = shop.original_scores("tuning")
    return float((before - shop.scores(shop.build(made), "tuning")).mean())


def _gain(priced: Sequence[Priced], chosen: Sequence[int]) -> float:
    return sum(priced[at].gain_ms for at in chosen)


def _next_limit(limit: float, budget: float, drop: float) -> float:
    """Single drops do not add up; scale the limit so that the next plan should just use the budget."""
    if drop <= 0.2 * budget:
        return limit * 1.5
    ratio = float(np.clip(budget / drop, 0.4, 1.6))
    return limit * (0.97 * ratio if drop > budget else max(1.03, 0.98 * ratio))


def improve(
    shop: Workshop,
    priced: Sequence[Priced],
    best: tuple[tuple[Made, ...], float, tuple[int, ...]],
    budget: float,
) -> tuple[tuple[Made, ...], float, tuple[int, ...]]:
    """Add one substitute at a time, those that save most per point first, while the budget holds."""
    ranked = sorted(range(len(priced)), key=lambda at: -priced[at].gain_ms / max(priced[at].drop, 0.05))
    misses = 0
    for at in ranked:
        substitute = priced[at].made.substitute
        if misses >= ROUNDS:
            break
        if any(substitute.overlaps(priced[other].made.substitute) for other in best[2]):
            continue
        chosen = (*best[2], at)
        made = refit(shop, [priced[other].made.substitute for other in chosen])
        drop = drop_of(shop, made)
        if drop <= budget:
            best = (made, drop, chosen)
        else:
            misses += 1
    return best
