"""What a budgeted collapse cost and how it is told: the drop on verification data, and the outcome about the input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnx_nepenthe import inspection
from onnx_nepenthe.errors import VerificationError
from onnx_nepenthe.evidence import Fitted
from onnx_nepenthe.graph.interface import compare as compare_interfaces
from onnx_nepenthe.graph.interface import interface_of
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.inspection import side_of
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.metrics import paired_drop
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Bought, Inspection, Outcome, Price
from onnx_nepenthe.rewrite import Rewrite
from onnx_nepenthe.sketch import sketch
from onnx_nepenthe.spending import Spending
from onnx_nepenthe.steps import Step
from onnx_nepenthe.workshop import Made, Workshop


def bill_of(shop: Workshop, result: Model, spending: Spending, options: Options) -> Price:
    """The price of `result`, on the verification data."""
    before, after = shop.original_scores("verification"), shop.scores(result, "verification")
    drop, low, high = paired_drop(before, after, np.random.default_rng(options.seed))
    substitutes = tuple(_bought(shop, one.made, one.drop, one.gain_ms) for one in spending.bought)
    return Price(
        metric=shop.metric,
        before=float(before.mean()),
        after=float(after.mean()),
        drop=drop,
        low=low,
        high=high,
        samples=before.size,
        allowed=options.max_drop,
        tuning_drop=spending.drop,
        considered=spending.considered,
        substitutes=substitutes,
        refits=tuple(_bought(shop, made, 0.0, 0.0) for made in spending.refits),
    )


def _bought(shop: Workshop, made: Made, drop: float, gain_ms: float) -> Bought:
    one = made.substitute
    labels = tuple(op.label for op in shop.findings.view.ops if op.key in one.ops)
    residual = made.fitting.residual
    return Bought(one.source, one.target, one.kind, len(one.rectifiers), residual, drop, gain_ms, labels)


def outcome_of(
    shop: Workshop, exact: Outcome, spending: Spending, result: Model, price: Price, latency: Comparison | None
) -> Outcome:
    """The exact collapse's outcome, told about the input rather than about the model with the substitutes.

    Raises:
        VerificationError: the result has other inputs or outputs than the input.
    """
    findings = shop.findings
    differences = compare_interfaces(interface_of(findings.model), interface_of(result))
    if differences:
        raise VerificationError(f"verification failed: the interface changed: {differences[0]}; nothing was written")
    after = view_from_model(result)
    fits = {key: one.made.fitting.residual for one in spending.bought for key in one.made.substitute.rectifiers}
    gone = frozenset(fits) | {row.rectifier.key for row in exact.inspection.rows if row.removed}
    fitted = tuple(_entry(findings.view, one) for one in (*price.substitutes, *price.refits))
    found = inspection.report(findings, exact.inspection.name, shop.options, gone, shop.dims)
    return replace(
        exact,
        inspection=_with_fits(found, fits),
        model=result,
        after=side_of(after, shop.dims),
        rewrites=fitted + exact.rewrites,
        latency=latency,
        price=price,
        message="collapsed",
        steps=(Step(regions=shop.regions(spending.made)), *exact.steps),
    )


def _entry(view: GraphView, one: Bought) -> Rewrite:
    before = sketch(view, one.source, one.target, one.replaced)
    made = "refitted" if one.kind == "refit" else f"fitted {one.kind}"
    return Rewrite(one.target, one.source, one.replaced, one.target, made, before)


def _with_fits(found: Inspection, residuals: dict[str, float]) -> Inspection:
    """Rows of rectifiers that a fit did away with say so."""
    rows = (
        replace(row, fitted=Fitted(residuals[row.rectifier.key])) if row.rectifier.key in residuals else row
        for row in found.rows
    )
    return replace(found, rows=tuple(rows))
