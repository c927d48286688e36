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
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.inspection import side_of
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.metrics import paired_drop
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Bought, Inspection, Outcome, Price
from onnx_nepenthe.rewrite import Rewrite
from onnx_nepenthe.spending import Spending
from onnx_nepenthe.steps import Step
from onnx_nepenthe.workshop import Workshop


def bill_of(shop: Workshop, result: Model, spending: Spending, options: Options) -> Price:
    """The price of `result`, on the verification data."""
    before, after = shop.original_scores("verification"), shop.scores(result, "verification")
    drop, low, high = paired_drop(before, after, np.random.default_rng(options.seed))
    substitutes = tuple(
        Bought(
            one.made.substitute.source,
            one.made.substitute.target,
            one.made.substitute.kind,
            len(one.made.substitute.rectifiers),
            one.made.fitting.residual,
            one.drop,
            one.gain_ms,
            tuple(op.label for op in shop.findings.view.ops if op.key in one.made.substitute.ops),
        )
        for one in spending.bought
    )
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
    )


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
    fitted = tuple(
        Rewrite(one.target, one.source, one.replaced, one.target, f"fitted {one.kind}") for one in price.substitutes
    )
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
        steps=(Step(regions=shop.regions([one.made for one in spending.bought])), *exact.steps),
    )


def _with_fits(found: Inspection, residuals: dict[str, float]) -> Inspection:
    """Rows of rectifiers that a fit did away with say so."""
    rows = (
        replace(row, fitted=Fitted(residuals[row.rectifier.key])) if row.rectifier.key in residuals else row
        for row in found.rows
    )
    return replace(found, rows=tuple(rows))
