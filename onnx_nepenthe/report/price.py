"""What a budgeted collapse cost, as data and in words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from onnx_nepenthe.evidence import Evidence, Fitted
from onnx_nepenthe.outcome import Outcome, Price
from onnx_nepenthe.report.text import clean, plural
from onnx_nepenthe.rewrite import Rewrite


def price_record(price: Price | None) -> dict[str, Any] | None:
    """What `--json` says; None for a collapse without a price."""
    return None if price is None else asdict(price)


def rewrite_evidence(rewrite: Rewrite, outcome: Outcome) -> Evidence | None:
    """What a rewrite rests on: a fit, or what is known of the channels it cuts; None for an exact composition."""
    bought = () if outcome.price is None else (*outcome.price.substitutes, *outcome.price.refits)
    fits = {one.target: Fitted(one.residual) for one in bought}
    cuts = {cut.name: cut.evidence for step in outcome.steps for cut in step.cuts}
    is_cut = rewrite.value == rewrite.source == rewrite.region
    return cuts.get(rewrite.value) if is_cut else fits.get(rewrite.value)


def price_words(price: Price) -> str:
    """The price as one sentence.

    >>> price_words(Price("top1", 90.0, 89.5, 0.5, 0.1, 0.9, 400, 1.0, 0.4, 12, ()))[:56]
    'paid 0.50 of 1 points of top1 (95 % interval 0.10 to 0.9'
    """
    allowed = f"of {price.allowed:g} " if price.allowed is not None else ""
    count = len(price.substitutes)
    gone = sum(one.rectifiers for one in price.substitutes)
    bought = f"{plural(count, 'fitted operator')} for {plural(gone, 'rectifier')}" if count else "nothing"
    mended = f", {plural(len(price.refits), 'operator')} behind them fitted anew" if price.refits else ""
    return clean(
        f"paid {price.drop:.2f} {allowed}points of {price.metric} (95 % interval {price.low:.2f} to {price.high:.2f}) "
        f"on {plural(price.samples, 'verification sample')}: {price.before:.2f} → {price.after:.2f}; "
        f"bought {bought}{mended}"
    )
