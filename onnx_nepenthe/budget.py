"""Spend a stated price on substitutes: fit, score each alone, choose, refit, correct against the real metric."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.inspection import Findings
from onnx_nepenthe.knapsack import least_drop, most_gain
from onnx_nepenthe.latency.sizes import run_sizes
from onnx_nepenthe.options import Options
from onnx_nepenthe.samples import timing_feeds
from onnx_nepenthe.spending import Priced, Spending
from onnx_nepenthe.substitutes import Substitute
from onnx_nepenthe.workshop import Made, Workshop, chunks

LOG = logging.getLogger(__name__)
AT_ONCE = 24
"""Substitutes fitted in one pass over the data."""
WORST_RESIDUAL = 0.6
"""A fit that leaves more of the target's variance than this is not tried."""
ROUNDS = 8
"""How often a plan is corrected against the real metric."""
SMALLEST_SHARE = 0.005
"""A substitute must save this share of the model's time to be scored."""
Plan = tuple[tuple[Made, ...], float, tuple[int, ...]]
"""(substitutes, drop on the tuning data, positions among the priced ones)."""


def open_shop(findings: Findings, options: Options) -> Workshop:
    """The workshop of a model.

    Raises:
        UsageError: there are no data.
    """
    feeds = timing_feeds(findings, options)
    if findings.source is None or feeds is None:
        raise UsageError("a budget needs data to spend it on; give --data")
    return Workshop(findings, options, run_sizes(findings.model, findings.view, feeds, options.config))


def price(shop: Workshop, model_ms: float) -> list[Priced]:
    """Fit, time and score every substitute alone; those that save next to nothing or fit badly fall out.

    Single drops of a few samples are noise. They are drawn towards what the Kullback-Leibler divergence
    (or the error) predicts, scaled to the drops by least squares over all substitutes.

    Args:
        shop: of the model.
        model_ms: time of the model, per call.
    """
    found: list[tuple[Made, float]] = []
    for some in chunks(shop.substitutes, AT_ONCE):
        for substitute, fitting in zip(some, shop.fit(some), strict=True):
            made = Made(substitute, fitting)
            gain = shop.gain_ms(made) if fitting.residual <= WORST_RESIDUAL else 0.0
            if gain > SMALLEST_SHARE * model_ms:
                found.append((made, gain))
    drops, proxies, errors = [], [], []
    for done, (made, _) in enumerate(found, start=1):
        shop.options.progress("scoring substitutes", done, len(found))
        drop, proxy, error = shop.drop_and_proxy(shop.build([made]), shop.options.tune_limit)
        drops.append(drop)
        proxies.append(proxy)
        errors.append(error)
    smooth = smoothed(np.array(drops), np.array(proxies), np.array(errors))
    return [Priced(made, float(drop), gain) for (made, gain), drop in zip(found, smooth, strict=True)]


def smoothed(
    drops: npt.NDArray[np.float64], proxies: npt.NDArray[np.float64], errors: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Each drop, drawn towards what its proxy predicts as far as it is noise; never below 0.

    Without this the choice would be of the luckiest. Empirical Bayes: how far true drops stray from the prediction is
    what the squared deviations have beyond the squared errors.

    >>> smoothed(np.array([2.0, 0.0]), np.array([2.0, 2.0]), np.array([9.0, 9.0])).tolist()
    [1.0, 1.0]
    >>> smoothed(np.array([2.0, 0.0]), np.array([2.0, 2.0]), np.array([0.0, 0.0])).tolist()
    [2.0, 0.0]
    """
    if not drops.size:
        return drops
    predicted = proxies * max(0.0, float((proxies * drops).sum() / max((proxies * proxies).sum(), 1e-30)))
    noise = np.square(errors)
    real = max(0.0, float((np.square(drops - predicted) - noise).mean()))
    trust = np.divide(real, real + noise, out=np.ones_like(noise), where=real + noise > 0)
    return np.asarray(np.clip(predicted + trust * (drops - predicted), 0.0, None), np.float64)


def spend(shop: Workshop, priced: Sequence[Priced], budget: float) -> Spending | None:
    """The substitutes that save most time for at most `budget` points on the tuning data; None when none do."""
    best: Plan | None = None
    limit, tried = budget, set[tuple[int, ...]]()
    for round_ in range(ROUNDS):
        shop.options.progress("choosing", round_, ROUNDS)
        chosen = _solve(most_gain, priced, limit)
        if chosen in tried:
            limit *= 1.4 if best is not None and chosen == best[2] else 0.8
            continue
        if not chosen:
            limit *= 1.4
            continue
        tried.add(chosen)
        plan = _made(shop, priced, chosen)
        LOG.info("limit %.2f: %d substitutes, drop %.2f points", limit, len(chosen), plan[1])
        if plan[1] <= budget and (best is None or _gain(priced, chosen) > _gain(priced, best[2])):
            best = plan
        limit = _next_limit(limit, budget, plan[1])
    best = _improved(shop, priced, best or ((), 0.0, ()), budget)
    return _spending(shop, priced, best) if best[2] else None


def spend_for_gain(shop: Workshop, priced: Sequence[Priced], wanted_ms: float) -> Spending | None:
    """The substitutes that save at least `wanted_ms` at the least price; None when all together save less."""
    chosen = _solve(least_drop, priced, wanted_ms)
    return _spending(shop, priced, _made(shop, priced, chosen)) if chosen else None


def without_worst(shop: Workshop, spending: Spending) -> Spending | None:
    """The same less the substitute that saves least per point, the others refitted; None when it was the last."""
    worst = min(spending.bought, key=lambda one: one.gain_ms / max(one.drop, 0.05))
    rest = [one for one in spending.bought if one is not worst]
    return _spending(shop, rest, _made(shop, rest, tuple(range(len(rest))))) if rest else None


def refit(shop: Workshop, chosen: Sequence[Substitute]) -> tuple[Made, ...]:
    """Fit one after the other, first ones first: inputs from the net as it is by then, targets from the original."""
    position = {name: at for at, name in enumerate(shop.findings.view.tensors)}
    made: dict[Substitute, Made] = {}
    for substitute in sorted(chosen, key=lambda one: position[one.target]):
        made[substitute] = shop.made_after(substitute, tuple(made.values()))
    return tuple(made[substitute] for substitute in chosen)


def _solve(solver: Callable[..., tuple[int, ...]], priced: Sequence[Priced], limit: float) -> tuple[int, ...]:
    return solver([p.made.substitute for p in priced], [p.gain_ms for p in priced], [p.drop for p in priced], limit)


def _made(shop: Workshop, priced: Sequence[Priced], chosen: tuple[int, ...]) -> Plan:
    made = refit(shop, [priced[at].made.substitute for at in chosen])
    return made, shop.drop_and_proxy(shop.build(made), None)[0], chosen


def _spending(shop: Workshop, priced: Sequence[Priced], plan: Plan) -> Spending:
    bought = (Priced(m, priced[at].drop, priced[at].gain_ms) for m, at in zip(plan[0], plan[2], strict=True))
    return Spending(shop.build(plan[0]), tuple(bought), plan[1], len(priced))


def _gain(priced: Sequence[Priced], chosen: Sequence[int]) -> float:
    return sum(priced[at].gain_ms for at in chosen)


def _next_limit(limit: float, budget: float, drop: float) -> float:
    """Single drops do not add up; scale the limit so that the next plan should just use the budget."""
    if drop <= 0.2 * budget:
        return limit * 1.5
    ratio = float(np.clip(budget / drop, 0.4, 1.6))
    return limit * (0.97 * ratio if drop > budget else max(1.03, 0.98 * ratio))


def _improved(shop: Workshop, priced: Sequence[Priced], best: Plan, budget: float) -> Plan:
    """Add one substitute at a time, those that save most per point first, while the budget holds."""
    ranked = sorted(range(len(priced)), key=lambda at: -priced[at].gain_ms / max(priced[at].drop, 0.05))
    misses = 0
    for at in ranked:
        if misses >= ROUNDS:
            break
        if any(priced[at].made.substitute.overlaps(priced[other].made.substitute) for other in best[2]):
            continue
        plan = _made(shop, priced, (*best[2], at))
        if plan[1] <= budget:
            best = plan
        else:
            misses += 1
    return best
