"""The stages in order: read, prove, measure, decide, plan, time, rewrite, verify."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe import inspection
from onnx_nepenthe.costs import MeasuredCosts
from onnx_nepenthe.errors import Refused, UnsupportedError, VerificationError
from onnx_nepenthe.graph.edit import freeze_initializers
from onnx_nepenthe.graph.interface import compare as compare_interfaces
from onnx_nepenthe.graph.interface import interface_of
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.inspection import Findings, find, side_of
from onnx_nepenthe.latency import Comparison, OperatorTable, random_feeds
from onnx_nepenthe.linearise import Linearised, Undecided
from onnx_nepenthe.measure import fixed_batch, measure, padded
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Inspection, Outcome, Refusal
from onnx_nepenthe.plan import CostModel, EveryExact, MultiplyAdds, Region, plan
from onnx_nepenthe.regions import Atlas, chart
from onnx_nepenthe.rewrite import journal, rewrite
from onnx_nepenthe.session import open_session
from onnx_nepenthe.trial import compare_models, run_sizes, settle, try_regions
from onnx_nepenthe.verify import Batch, Verdict, bisect, verify

LOG = logging.getLogger(__name__)
Feeds = Mapping[str, npt.NDArray[Any]]
RANDOM_BATCHES = 8
"""Batches of seeded random input that a model is verified on without data."""
ROUNDS = 4
"""How often decisions that verification data contradict are taken back before giving up."""


@dataclass(frozen=True)
class _RandomBatch:
    feeds: Feeds
    labels: None
    size: int
    whole: bool = True


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A plan carried out: the regions kept, the model (None for none), how it compares, what fell away."""

    regions: tuple[Region, ...]
    model: Model | None
    latency: Comparison | None
    speedups: Mapping[str, float]
    refusals: tuple[Refusal, ...]
    atlas: Atlas


def inspect(model: Model, name: str, options: Options) -> Inspection:
    """What `onnx-nepenthe inspect` reports; nothing is changed.

    Raises:
        NepentheError: unreadable data, a model that cannot be run on them.
    """
    if options.freeze_initializers:
        model = freeze_initializers(model)
    return inspection.report(find(model, options), name, options)


def collapse(model: Model, name: str, options: Options) -> Outcome:
    """Collapse `model` (onnx_ir, not changed).

    Returns:
        The outcome; its `model` is None when the input is the best there is.

    Raises:
        VerificationError: a rewritten model differs from its input and the culprit cannot be left out.
        NepentheError: unreadable data, or a model that cannot be run on them.
    """
    if options.freeze_initializers:
        model = freeze_initializers(model)
    findings = find(model, options)
    withdrawn: tuple[Refusal, ...] = ()
    for _ in range(ROUNDS):
        candidate = _plan(findings, options)
        if candidate.model is None:
            return _outcome(findings, candidate, None, withdrawn, name, options)
        verdict = _verify(findings, candidate.model, options)
        if verdict.passed:
            return _outcome(findings, candidate, verdict, withdrawn, name, options)
        findings, taken_back = _take_back(findings, options)
        if not taken_back:
            raise _blame(findings, candidate, verdict, options)
        withdrawn += taken_back
    raise VerificationError(f"{name}: verification kept failing after {ROUNDS} rounds; nothing was written")


def _plan(findings: Findings, options: Options) -> _Candidate:
    """Choose, time and rewrite."""
    options.progress("planning", 0, None)
    atlas = chart(findings.view, findings.linearised.decisions, skip=options.skip)
    feeds = _timing_feeds(findings, options)
    unrunnable = None if options.latency == "off" else inspection.why_not_runnable(findings.model, options)
    dims = {} if feeds is None or unrunnable else run_sizes(findings.model, findings.view, feeds, options.config)
    mode = "macs" if options.latency == "measured" and (unrunnable or feeds is None) else options.latency
    regions = plan(atlas, _costs(findings, mode, dims, options))
    refusals = [Refusal.of(r.label, "reader", r.refusal) for r in atlas.refusals]
    if unrunnable is not None:
        refusals.append(Refusal.of("latency", "model", unrunnable))
    if mode != "measured" or feeds is None:
        new = rewrite(findings.model, findings.view, regions) if regions else None
        return _Candidate(regions, new, None, {}, tuple(refusals), atlas)
    return _timed(findings, atlas, regions, feeds, dims, refusals, options)


def _costs(findings: Findings, mode: str, dims: Mapping[str, int], options: Options) -> CostModel:
    if mode == "off":
        return EveryExact(dims)
    if mode == "macs":
        return MultiplyAdds(dims)
    table = OperatorTable(options.config, folder=options.cache)
    return MeasuredCosts(findings.model, findings.view, table, dims)


def _timed(
    findings: Findings,
    atlas: Atlas,
    regions: Sequence[Region],
    feeds: Feeds,
    dims: Mapping[str, int],
    refusals: list[Refusal],
    options: Options,
) -> _Candidate:
    rng = np.random.default_rng(options.seed)
    model, view = findings.model, findings.view
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
        return compare_models(model, candidate, feeds, options.config, rng)

    kept, new, comparison = settle(model, view, trials, timed)
    names = {region.name for region in kept}
    speedups = {t.region.name: t.comparison.speedup for t in trials if t.comparison is not None}
    for trial in trials:
        if trial.region.name not in names:
            reason = trial.refusal or "put back, as the whole model was not faster with it"
            refusals.append(Refusal(trial.region.name, "latency", reason, "--latency off takes it all the same"))
    return _Candidate(kept, new, comparison, speedups, tuple(refusals), atlas)


def _timing_feeds(findings: Findings, options: Options) -> Feeds | None:
    """One batch to time on: the first of the data, or random numbers; None when there can be none."""
    if findings.source is not None:
        batch = next(iter(findings.source.batches(_batch(findings, options.latency_batch))), None)
        if batch is not None:
            return batch.feeds
    return next(iter(_random_batches(findings, options, 1)), _NO_BATCH).feeds


_NO_BATCH = _RandomBatch({}, None, 0)


def _batch(findings: Findings, wanted: int) -> int:
    view = findings.view
    return fixed_batch([view.tensors[name] for name in view.inputs]) or wanted


def _random_batches(findings: Findings, options: Options, count: int) -> Iterator[_RandomBatch]:
    rng = np.random.default_rng(options.seed)
    try:
        ports = open_session(findings.model, replace(options.config, optimise=False)).inputs
    except UnsupportedError:
        ports = tuple(findings.view.tensors[name] for name in findings.view.inputs)
    for _ in range(count):
        yield _RandomBatch(random_feeds(ports, {}, rng, options.input_ranges), None, 1)


def _verify(findings: Findings, new: Model, options: Options) -> Verdict:
    options.progress("verifying", 0, None)
    depth = side_of(findings.view).size.weighted_depth
    differences = compare_interfaces(interface_of(findings.model), interface_of(new))
    if differences:
        return Verdict(False, interface=tuple(differences), reason=f"the interface changed: {differences[0]}")
    batches, name, disjoint = _verification_data(findings, options)
    return verify(findings.model, new, batches, depth=depth, config=options.config, source=name, disjoint=disjoint)


def _verification_data(findings: Findings, options: Options) -> tuple[Iterator[Batch], str, bool]:
    source = findings.source
    if source is not None:
        size = _batch(findings, options.batch)
        pieces = source.batches(size, "verification", options.verify_limit)
        first = next(pieces, None)
        if first is not None:
            return _padded(first, pieces, findings, size), source.name, True
        return source.batches(size, "calibration", options.verify_limit), f"{source.name} (calibration data)", False
    return _random_batches(findings, options, RANDOM_BATCHES), "seeded random input", True


def _padded(first: Batch, rest: Iterator[Batch], findings: Findings, size: int) -> Iterator[Batch]:
    """Batches of a model for one batch size filled up by repeating a sample."""
    view = findings.view
    fixed = fixed_batch([view.tensors[name] for name in view.inputs])
    for batch in chain([first], rest):
        if fixed is None or batch.size == fixed or batch.whole:
            yield batch
        else:
            yield replace(batch, feeds=padded(batch.feeds, batch.size, fixed))  # type: ignore[type-var]


def _take_back(findings: Findings, options: Options) -> tuple[Findings, tuple[Refusal, ...]]:
    """Findings without the observed decisions that verification data contradict."""
    linearised = findings.linearised
    observed = tuple(d.rectifier for d in linearised.decisions.values() if d.observed)
    if findings.source is None or not observed:
        return findings, ()
    seen = measure(
        findings.model,
        observed,
        findings.source,
        config=options.config,
        batch=options.batch,
        limit=options.verify_limit,
        part="verification",
    )
    decisions, undecided = dict(linearised.decisions), dict(linearised.undecided)
    refusals: list[Refusal] = []
    for rectifier in observed:
        counts = seen.counts.get(rectifier.key)
        pieces = linearised.decisions[rectifier.key].pieces
        total = (
            0 if counts is None else int((counts.observations - counts.counts[pieces, np.arange(len(pieces))]).sum())
        )
        ties = 0 if counts is None else int(counts.ties.sum())
        if total > ties or (total and seen.counts[rectifier.key].nonfinite):
            reason = Refused(
                f"held on the calibration data, but not on the verification data ({total - ties} observations)",
                "calibrate on more, or more representative, data",
            )
            decision = decisions.pop(rectifier.key)
            undecided[rectifier.key] = Undecided(rectifier, reason, np.full_like(decision.pieces, -1))
            refusals.append(Refusal.of(rectifier.label, "verification", reason))
    return replace(findings, linearised=Linearised(decisions, undecided)), tuple(refusals)


def _blame(findings: Findings, candidate: _Candidate, verdict: Verdict, options: Options) -> VerificationError:
    """Name the regions without which the others pass."""

    def passes(regions: Sequence[Region]) -> bool:
        model = rewrite(findings.model, findings.view, regions)
        return _verify(findings, model, options).passed

    try:
        culprits = ", ".join(region.name for region in bisect(candidate.regions, passes))
    except VerificationError as error:
        culprits = str(error)
    return VerificationError(
        f"verification failed: {verdict.reason}; culprit: {culprits}. Nothing was written. "
        "Leave the rule out with --skip-rule, and please report it"
    )


def _outcome(
    findings: Findings,
    candidate: _Candidate,
    verdict: Verdict | None,
    withdrawn: tuple[Refusal, ...],
    name: str,
    options: Options,
) -> Outcome:
    gone = frozenset(
        value.name
        for value in candidate.atlas.affine.values()
        if value.rectifier and candidate.model is not None and _is_gone(value.op.label, candidate.regions)
    )
    view: GraphView = findings.view if candidate.model is None else view_from_model(candidate.model)
    message = "collapsed" if candidate.model is not None else "nothing could be collapsed"
    return Outcome(
        inspection=inspection.report(findings, name, options, gone),
        model=candidate.model,
        after=side_of(view),
        rewrites=journal(candidate.regions),
        speedups=candidate.speedups,
        refusals=withdrawn + candidate.refusals,
        latency=candidate.latency,
        verdict=verdict,
        options={"latency": options.latency, "seed": options.seed, "proved_only": options.proved_only},
        message=message,
    )


def _is_gone(label: str, regions: Sequence[Region]) -> bool:
    return any(label in choice.replaced for region in regions for choice in region.choices)
