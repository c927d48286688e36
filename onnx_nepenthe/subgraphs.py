"""Collapse what is inside If, Loop and Scan: by proof alone, as nothing is measured in a body."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from onnx_nepenthe.charting import chart
from onnx_nepenthe.checking import check
from onnx_nepenthe.errors import Refused, UnsupportedError, VerificationError
from onnx_nepenthe.graph.bodies import Bodies, count_bodies
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.inspection import Findings, prove, side_of
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.latency.sizes import run_sizes
from onnx_nepenthe.linearise import Linearised, linearise
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Outcome, Refusal, Side
from onnx_nepenthe.plan import plan
from onnx_nepenthe.prices import CostModel, EveryExact, MultiplyAdds
from onnx_nepenthe.rectifiers import find_rectifiers
from onnx_nepenthe.regions import Atlas
from onnx_nepenthe.rewrite import computed_weights
from onnx_nepenthe.rules import BODIES
from onnx_nepenthe.samples import timing_feeds
from onnx_nepenthe.steps import Inside, Step, rewrites_inside, taken
from onnx_nepenthe.trial import compare_models, loses

LOG = logging.getLogger(__name__)
UNPROVED = Refused("no proof, and nothing is measured inside a body")
SLOWER = Refused("put back, as the whole model was slower with it", "--latency off takes it all the same")


@dataclass(frozen=True, eq=False)
class Looked:
    """What can be done in the bodies of a model.

    Attributes:
        bodies: those that change.
        refusals: what stays in all of them.
    """

    bodies: tuple[Inside, ...]
    refusals: tuple[Refusal, ...]


def collapse_bodies(findings: Findings, outcome: Outcome, options: Options) -> Outcome:
    """`outcome` with the bodies of its model collapsed too, unless that is slower.

    Args:
        findings: of the input.
        outcome: of everything outside of them.
        options: `skip` may name the rule.

    Raises:
        VerificationError: the model then differs from its input.
    """
    if BODIES in options.skip or not count_bodies(findings.model):
        return outcome
    start = findings.model if outcome.model is None else outcome.model
    looked = look_into(start, options)
    if not looked.bodies:
        return replace(outcome, refusals=(*outcome.refusals, *looked.refusals))
    step = Step(bodies=looked.bodies)
    result = taken(start, (step,))
    verdict = check(findings, result, options, [cut for step in outcome.steps for cut in step.cuts])
    if not verdict.passed:
        raise VerificationError(
            f"verification failed: {verdict.reason}; the culprit is inside {looked.bodies[0].place} or another body; "
            f"nothing was written. Leave them alone with --skip-rule {BODIES}, and please report it"
        )
    latency = _timed(findings, result, options)
    if latency is not None and loses(latency):
        put_back = (Refusal.of(str(one.place), "latency", SLOWER) for one in looked.bodies)
        return replace(outcome, refusals=(*outcome.refusals, *looked.refusals, *put_back))
    return replace(
        outcome,
        model=result,
        after=_side(findings, result, options),
        rewrites=(*outcome.rewrites, *rewrites_inside(looked.bodies)),
        refusals=(*outcome.refusals, *looked.refusals),
        latency=latency,
        verdict=verdict,
        message="collapsed",
        steps=(*outcome.steps, step),
    )


def look_into(model: Model, options: Options) -> Looked:
    """Plan the bodies of `model` (not changed), and the bodies inside those.

    A body is a graph of its own: what it takes from outside may be anything, weights apart.
    """
    changed: list[Inside] = []
    refusals: list[Refusal] = []
    if not count_bodies(model):
        return Looked((), ())
    copy = Bodies(model, view_from_model(model))
    for place in copy.places:
        body = copy.take_out(place)
        view = view_from_model(body)
        rectifiers = tuple(r for r in find_rectifiers(view)[0] if not {r.op, r.rule} & options.skip)
        linearised = linearise(rectifiers, prove(view, rectifiers, {}), {})
        atlas = chart(view, linearised.decisions, skip=options.skip)
        regions = plan(atlas, _costs(options))
        refusals += _refused(atlas, linearised, f" in {place}")
        inner = look_into(taken(body, (Step(regions=regions),)), options)
        refusals += (replace(refusal, where=f"{refusal.where} in {place}") for refusal in inner.refusals)
        if regions or computed_weights(view) or inner.bodies:
            changed.append(Inside(place, regions, inner.bodies))
    return Looked(tuple(changed), tuple(refusals))


def _costs(options: Options) -> CostModel:
    return EveryExact({}) if options.latency == "off" else MultiplyAdds({})


def _refused(atlas: Atlas, linearised: Linearised, where: str) -> Iterator[Refusal]:
    for undecided in linearised.undecided.values():
        yield Refusal.of(f"{undecided.rectifier.label}{where}", "rectifier", UNPROVED)
    for refused in atlas.refusals:
        yield Refusal.of(f"{refused.label}{where}", "reader", refused.refusal)


def _timed(findings: Findings, result: Model, options: Options) -> Comparison | None:
    """The input against the result, twice where the result loses at first; None where nothing is timed."""
    if options.latency != "measured" or options.latency_table is not None:
        return None
    feeds = timing_feeds(findings, options)
    if feeds is None:
        return None
    rng = np.random.default_rng(options.seed)
    try:
        comparison = compare_models(findings.model, result, feeds, options.config, rng)
        return compare_models(findings.model, result, feeds, options.config, rng) if loses(comparison) else comparison
    except UnsupportedError as error:
        LOG.info("the bodies cannot be timed: %s", error)
        return None


def _side(findings: Findings, result: Model, options: Options) -> Side:
    view, feeds = view_from_model(result), timing_feeds(findings, options)
    return side_of(view, None if feeds is None else run_sizes(result, view, feeds, options.config))
