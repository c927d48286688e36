"""Take constant channels out before anything is planned, and time the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_nepenthe.cutting import Cut, CutPlan, apply_cuts, cut_counts, cut_linearised, cut_proofs, find_cuts
from onnx_nepenthe.evidence import Observed
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.inspection import Findings
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.measure import Measurement
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Refusal
from onnx_nepenthe.rectifiers import find_rectifiers
from onnx_nepenthe.rewrite import Rewrite
from onnx_nepenthe.rules import CUT_CHANNELS
from onnx_nepenthe.samples import Feeds
from onnx_nepenthe.trial import compare_models

MULTIPLES = (1, 8)
"""Numbers of channels that are tried: as few as possible, and what kernels for blocks of channels like."""
ANYWAY = "--latency off takes it all the same"


@dataclass(frozen=True, eq=False)
class Narrowed:
    """A model without the channels that were cut.

    Attributes:
        findings: as if the model had never had those channels; the input's own where nothing was cut.
        cuts: what was taken out, in graph order.
        latency: input against the model without them; None when not timed or nothing was cut.
        refusals: constant channels that stay.
    """

    findings: Findings
    cuts: tuple[Cut, ...] = ()
    latency: Comparison | None = None
    refusals: tuple[Refusal, ...] = ()


def narrow(findings: Findings, options: Options, feeds: Feeds | None = None) -> Narrowed:
    """Cut what can be cut, unless that is slower.

    Args:
        findings: of the input, which is not changed.
        options: `skip` may name the rule.
        feeds: what to time on; None to take every cut untimed.

    Raises:
        UnsupportedError: there are feeds, but the model cannot be run.
    """
    if CUT_CHANNELS in options.skip:
        return Narrowed(findings)
    plans = list(_plans(findings, options, feeds is not None))
    refusals = tuple(Refusal.of(r.label, "channels", r.refusal) for r in plans[0].refusals)
    plans = [plan for plan in plans if plan.cuts]
    if not plans or feeds is None:
        cuts = plans[0].cuts if plans else ()
        return Narrowed(without(findings, cuts), cuts, None, refusals)
    options.progress("timing cuts", 0, len(plans))
    rng = np.random.default_rng(options.seed)
    best: Narrowed | None = None
    for done, plan in enumerate(plans, start=1):
        tried = without(findings, plan.cuts)
        latency = compare_models(findings.model, tried.model, feeds, options.config, rng)
        if not latency.is_slower and (best is None or best.latency is None or latency.low > best.latency.high):
            best = Narrowed(tried, plan.cuts, latency, refusals)
        options.progress("timing cuts", done, len(plans))
    if best is not None:
        return best
    slower = (Refusal(cut.label, "latency", f"slower with {_count(cut)} fewer", ANYWAY) for cut in plans[0].cuts)
    return Narrowed(findings, refusals=(*refusals, *slower))


def _plans(findings: Findings, options: Options, timed: bool) -> Iterator[CutPlan]:
    """As much as possible first; others only where they differ and latency decides between them."""
    counts = {} if findings.measurement is None or options.proved_only else findings.measurement.counts
    seen: list[tuple[Cut, ...]] = []
    for multiple in MULTIPLES if timed else MULTIPLES[:1]:
        plan = find_cuts(findings.view, findings.linearised, findings.proofs, counts, options.skip, multiple)
        if plan.cuts not in seen:
            seen.append(plan.cuts)
            yield replace(plan, cuts=tuple(_weighed(cut, findings.measurement) for cut in plan.cuts))


def _weighed(cut: Cut, measurement: Measurement | None) -> Cut:
    """The cut with what its observations are worth: the samples they come from, and for how many channels."""
    if measurement is None or not isinstance(cut.evidence, Observed):
        return cut
    samples = min((measurement.seen[e.value] for e in cut.removed if e.value in measurement.seen), default=0)
    return replace(cut, evidence=replace(cut.evidence, samples=samples, channels=cut.channels))


def without(findings: Findings, cuts: Sequence[Cut]) -> Findings:
    """The findings on the model without the channels of `cuts`."""
    if not cuts:
        return findings
    model: Model = apply_cuts(findings.model, findings.view, cuts)
    view = view_from_model(model)
    found, refused = find_rectifiers(view)
    known = {rectifier.key for rectifier in findings.rectifiers}
    seen = findings.measurement
    return replace(
        findings,
        model=model,
        view=view,
        rectifiers=tuple(rectifier for rectifier in found if rectifier.key in known),
        refused=refused,
        measurement=None if seen is None else replace(seen, counts=cut_counts(seen.counts, cuts)),
        linearised=cut_linearised(findings.linearised, view, cuts),
        proofs=cut_proofs(findings.proofs, cuts),
    )


def _count(cut: Cut) -> str:
    return "1 channel" if cut.channels == 1 else f"{cut.channels} channels"


def journal_of_cuts(cuts: Sequence[Cut]) -> tuple[Rewrite, ...]:
    """The cuts as journal entries; their region is the cut's name."""
    return tuple(
        Rewrite(cut.name, cut.name, cut.changed, cut.name, f"{CUT_CHANNELS}: {_count(cut)} fewer") for cut in cuts
    )


def observed_rectifiers(cuts: Sequence[Cut]) -> frozenset[str]:
    """Keys of the values whose channels were cut on the evidence of data."""
    return frozenset(entry.value for cut in cuts if isinstance(cut.evidence, Observed) for entry in cut.removed)
