"""`collapse --apply`: a plan done again, verified as far as there are data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnx_nepenthe.billing import bill_of
from onnx_nepenthe.checking import check
from onnx_nepenthe.errors import UsageError, VerificationError
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.inspection import Findings, find, report, side_of
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Outcome, Price
from onnx_nepenthe.recipe import Recipe, replay
from onnx_nepenthe.rewrite import Rewrite, journal
from onnx_nepenthe.samples import timing_feeds
from onnx_nepenthe.spending import Spending
from onnx_nepenthe.trial import compare_models
from onnx_nepenthe.workshop import Workshop


def apply_recipe(model: Model, name: str, recipe: Recipe, options: Options) -> Outcome:
    """The outcome of a replay: nothing is fitted, chosen or composed anew.

    With data an exact plan is verified and one with a price pays it anew, on verification data. Without, the price is
    the recorded one, and an exact plan is verified on random input unless it rests on data: what was observed need
    not hold for random input, and the result is the one that was verified when the plan was made, bit for bit.

    Raises:
        UsageError: the plan is for another model, or options ask for a new plan.
        VerificationError: the result is not the recorded one, or its price is over what was allowed.
    """
    if options.max_drop is not None or options.target_speedup is not None:
        raise UsageError("--apply does what the plan says; leave out --max-drop and --target-speedup")
    result = replay(model, recipe)
    findings = find(model, options)
    is_changed = bool(recipe.steps)
    price = recipe.price
    if price is not None and findings.source is not None:
        price = _paid(findings, result, price, options)
    is_checked = price is None and (findings.source is not None or not _rests_on_data(recipe))
    verdict = check(findings, result, options) if is_changed and is_checked else None
    if verdict is not None and not verdict.passed:
        raise VerificationError(f"{name}: verification failed: {verdict.reason}; nothing was written")
    after = view_from_model(result)
    gone = frozenset(r.key for r in findings.rectifiers if after.op_of(r.key) is None)
    return Outcome(
        inspection=report(findings, name, options, gone),
        model=result if is_changed else None,
        after=side_of(after),
        rewrites=_journal(findings, recipe),
        speedups={},
        refusals=(),
        latency=_timed(findings, result, options) if is_changed else None,
        verdict=verdict,
        options={},
        message="replayed",
        price=price,
        steps=recipe.steps,
    )


def _rests_on_data(recipe: Recipe) -> bool:
    return any(recipe.options.get(name) for name in ("data", "measurement"))


def _paid(findings: Findings, result: Model, recorded: Price, options: Options) -> Price:
    shop = Workshop(findings, replace(options, metric=recorded.metric, max_drop=recorded.allowed), {})
    spending = Spending(result, (), recorded.tuning_drop, recorded.considered)
    bill = bill_of(shop, result, spending, shop.options)
    if recorded.allowed is not None and bill.drop > recorded.allowed:
        raise VerificationError(
            f"the price cannot be kept on these data: {bill.drop:.2f} points lost, {recorded.allowed:g} allowed; "
            "nothing was written"
        )
    return replace(bill, substitutes=recorded.substitutes)


def _journal(findings: Findings, recipe: Recipe) -> tuple[Rewrite, ...]:
    regions = [region for step in recipe.steps for region in step.regions]
    return journal(findings.view, regions)


def _timed(findings: Findings, result: Model, options: Options) -> Comparison | None:
    feeds = timing_feeds(findings, options) if options.latency == "measured" else None
    if feeds is None:
        return None
    return compare_models(findings.model, result, feeds, options.config, np.random.default_rng(options.seed))
