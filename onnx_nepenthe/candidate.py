"""From findings to a new model: cut channels, plan, time, rewrite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_nepenthe import inspection
from onnx_nepenthe.charting import chart
from onnx_nepenthe.costs import MeasuredCosts
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.inspection import Findings
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.latency.sizes import run_sizes
from onnx_nepenthe.narrowing import ANYWAY, Narrowed, narrow
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Refusal
from onnx_nepenthe.plan import Region, plan
from onnx_nepenthe.prices import CostModel, EveryExact, MultiplyAdds
from onnx_nepenthe.regions import Atlas
from onnx_nepenthe.rewrite import computed_weights, rewrite
from onnx_nepenthe.samples import Feeds, timing_feeds
from onnx_nepenthe.tables import operator_table
from onnx_nepenthe.trial import compare_models, settle, try_regions
from onnx_nepenthe.unmerged import unmerged

PUT_BACK = "put back, as the whole model was slower with it, or no faster and no smaller"


@dataclass(frozen=True, eq=False)
class Candidate:
    """A plan carried out.

    Attributes:
        narrowed: the input without the channels that were cut: what was planned on.
        regions: those kept, in graph order.
        model: with them and without those channels; None when there is neither.
        latency: input against `model`; None when not timed.
        speedups: region → its own speed-up.
        refusals: what was not read, and what was not faster.
        atlas: what was planned on.
        dims: sizes of symbolic axes in the runs that were timed.
    """

    narrowed: Narrowed
    regions: tuple[Region, ...]
    model: Model | None
    latency: Comparison | None
    speedups: Mapping[str, float]
    refusals: tuple[Refusal, ...]
    atlas: Atlas
    dims: Mapping[str, int]


def make_candidate(findings: Findings, options: Options) -> Candidate:
    """Cut channels, plan, and time region by region and as a whole unless latency is not to be measured.

    A model that onnxruntime cannot run is planned by multiply-adds; a refusal says so.
    """
    options.progress("planning", 0, None)
    unrunnable = None if options.latency == "off" else inspection.why_not_runnable(findings.model, options)
    feeds = None if unrunnable or options.latency == "off" else timing_feeds(findings, options)
    by_table = options.latency_table is not None and options.latency == "measured"
    is_timed = options.latency == "measured" and feeds is not None and not by_table
    narrowed = narrow(findings, options, feeds if is_timed else None)
    model, view = narrowed.findings.model, narrowed.findings.view
    atlas = chart(view, narrowed.findings.linearised.decisions, skip=options.skip)
    refusals = [Refusal.of(r.label, "reader", r.refusal) for r in atlas.refusals]
    if unrunnable is not None:
        refusals.append(Refusal.of("latency", "model", unrunnable))
    refusals.extend(narrowed.refusals)
    refusals.extend(Refusal.of(label, "composition", refused) for label, refused in unmerged(atlas))
    dims = {} if feeds is None else run_sizes(model, view, feeds, options.config)
    if is_timed and feeds is not None:
        return _timed(findings.model, narrowed, atlas, feeds, dims, refusals, options)
    regions = tuple(r for r in plan(atlas, costs_of(model, view, dims, options)) if not by_table or r.gain > 0)
    is_changed = regions or computed_weights(view)
    new = rewrite(model, view, regions) if is_changed else model if narrowed.cuts else None
    return Candidate(narrowed, regions, new, None, {}, tuple(refusals), atlas, dims)


def costs_of(model: Model, view: GraphView, dims: Mapping[str, int], options: Options) -> CostModel:
    """Prices that need no timing here."""
    if options.latency == "off":
        return EveryExact(dims)
    if options.latency_table is not None and options.latency == "measured":
        return MeasuredCosts(model, view, operator_table(options), dims)
    return MultiplyAdds(dims)


def _timed(
    before: Model,
    narrowed: Narrowed,
    atlas: Atlas,
    feeds: Feeds,
    dims: Mapping[str, int],
    refusals: Sequence[Refusal],
    options: Options,
) -> Candidate:
    rng = np.random.default_rng(options.seed)
    model, view = narrowed.findings.model, narrowed.findings.view
    regions = plan(atlas, MeasuredCosts(model, view, operator_table(options), dims))
    trials = try_regions(
        model,
        atlas,
        regions,
        dims=dims,
        config=options.config,
        rng=rng,
        progress=lambda done: options.progress("timing regions", done, len(regions)),
    )

    def timed(candidate: Model) -> Comparison:
        options.progress("timing the model", 0, None)
        return compare_models(before, candidate, feeds, options.config, rng)

    kept, new, comparison = settle(model, view, trials, timed)
    if new is None and narrowed.cuts:
        new, comparison = model, narrowed.latency
    names = {region.name for region in kept}
    slower = tuple(
        Refusal(_label(t.region), "latency", t.refusal or PUT_BACK, ANYWAY)
        for t in trials
        if t.region.name not in names
    )
    speedups = {t.region.name: t.comparison.speedup for t in trials if t.comparison is not None}
    return Candidate(narrowed, kept, new, comparison, speedups, (*refusals, *slower), atlas, dims)


def _label(region: Region) -> str:
    """The operators a region would replace, the first and the last few of them."""
    labels = list(dict.fromkeys(label for choice in region.choices for label in choice.replaced))
    return " + ".join(labels) if len(labels) <= 4 else f"{labels[0]} + {labels[1]} … {labels[-1]} ({len(labels)})"
