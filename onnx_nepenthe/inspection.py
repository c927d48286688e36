"""The first half of the pipeline: read, prove, measure, decide."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.affine.cost import BATCH_SIZE
from onnx_nepenthe.errors import Refused, UnsupportedError
from onnx_nepenthe.graph.bodies import count_bodies
from onnx_nepenthe.graph.fitting import check_fit
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.stats import model_size
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.linearise import Decision, Linearised, Undecided
from onnx_nepenthe.measure import Measurement
from onnx_nepenthe.measuring import Proof, decide_all, drifted, gather, notes_on_settings, open_data
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Inspection, RectifierRow, Refusal, Side
from onnx_nepenthe.prove import UNPROVED, Bounds, bounds_of, describe, describe_relaxed, prove_regimes
from onnx_nepenthe.proving.crown import Bend, relaxed_bounds
from onnx_nepenthe.proving.effort import Effort
from onnx_nepenthe.rectifiers import Rectifier, RefusedRectifier, find_rectifiers
from onnx_nepenthe.session import environment, open_session
from onnx_nepenthe.sources import Source

LOG = logging.getLogger(__name__)
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Findings:
    """All that is known about a model before anything is planned.

    Attributes:
        model, view: the model and how it reads.
        rectifiers, refused: its rectifiers.
        source: the data, None without.
        measurement: counts on the calibration part, None without data.
        linearised: the decisions.
        proofs: by rectifier key, the proved piece of each channel and the argument.
        notes: on how they were found.
    """

    model: Model
    view: GraphView
    rectifiers: tuple[Rectifier, ...]
    refused: tuple[RefusedRectifier, ...]
    source: Source | None
    measurement: Measurement | None
    linearised: Linearised
    proofs: Mapping[str, Proof] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find(model: Model, options: Options, *, scan: bool = False) -> Findings:
    """Read `model` and decide its rectifiers.

    Args:
        model: not changed.
        options: of the run.
        scan: what `options.scan` is unless it says.

    Raises:
        UnsupportedError: there are data and onnxruntime cannot run the model.
        UnreadableError, UsageError: a layer that does not fit its input, the data, or a measurement of another model.
    """
    options.progress("reading", 0, None)
    view = view_from_model(model)
    check_fit(view)
    found, refused = find_rectifiers(view)
    rectifiers = tuple(r for r in found if not {r.op, r.rule} & options.skip)
    source = open_data(model, options)
    effort = Effort(options.prove_budget_s, options.prove_work) if options.prove_budget_s > 0 else None
    proofs = prove(view, rectifiers, options.input_ranges, effort)
    notes = (*notes_on_settings(options), *([effort.stopped] if effort is not None and effort.stopped else []))
    measurement = gather(model, rectifiers, proofs, source, options, scan=scan)
    linearised = decide_all(rectifiers, proofs, measurement, options)
    return Findings(model, view, rectifiers, refused, source, measurement, linearised, proofs, notes)


def prove(
    view: GraphView,
    rectifiers: tuple[Rectifier, ...],
    ranges: Mapping[str, tuple[float, float]],
    effort: Effort | None = None,
) -> dict[str, tuple[IntArray, str]]:
    """Per rectifier the proved piece of each channel (-1 for none) and the argument.

    Args:
        view: the graph.
        rectifiers: of the graph.
        ranges: input → (low, high).
        effort: for the linear relaxation of what intervals leave open; None for none.
    """
    bounds = bounds_of(view, ranges)
    proofs: dict[str, tuple[IntArray, str]] = {}
    for rectifier in rectifiers:
        known = bounds.get(rectifier.operand)
        if known is not None:
            proofs[rectifier.key] = (_pieces(rectifier, known), describe(known))
    if effort is not None and any((pieces == UNPROVED).any() for pieces, _ in proofs.values()):
        proofs.update(_relaxed(view, rectifiers, bounds, effort, proofs))
    return proofs


def _relaxed(
    view: GraphView,
    rectifiers: tuple[Rectifier, ...],
    bounds: Mapping[str, Bounds],
    effort: Effort,
    proofs: Mapping[str, tuple[IntArray, str]],
) -> dict[str, tuple[IntArray, str]]:
    """Of the rectifiers of which the relaxation proves more."""
    bends = {r.output: Bend(r.operand, r.activation, r.axis) for r in rectifiers}
    found = relaxed_bounds(view, bounds, bends, effort)
    where = {name: bounds[name] for name in view.inputs}
    more: dict[str, tuple[IntArray, str]] = {}
    for rectifier in rectifiers:
        if rectifier.operand in found:
            pieces = _pieces(rectifier, found[rectifier.operand])
            if (pieces != UNPROVED).sum() > (proofs[rectifier.key][0] != UNPROVED).sum():
                more[rectifier.key] = (pieces, describe_relaxed(pieces, found[rectifier.operand], where))
    return more


def _pieces(rectifier: Rectifier, bounds: Bounds) -> IntArray:
    if not rectifier.channels or rectifier.axis is None:
        return prove_regimes(rectifier.activation, bounds.hull(), 1, rectifier.axis or 0)
    return prove_regimes(rectifier.activation, bounds, rectifier.channels, rectifier.axis)


def report(
    findings: Findings,
    name: str,
    options: Options,
    removed: frozenset[str] = frozenset(),
    dims: Mapping[str, int] | None = None,
) -> Inspection:
    """The record of `findings`.

    Args:
        findings: of the model.
        name: of the model.
        options: of the run.
        removed: keys of rectifiers that are gone from the result.
        dims: sizes of symbolic axes, for multiply-adds.
    """
    measurement, linearised = findings.measurement, findings.linearised
    found: dict[str, Decision | Undecided] = {**linearised.undecided, **linearised.decisions}
    rows = [_row(findings, rectifier, found[rectifier.key], removed) for rectifier in findings.rectifiers]
    refusals = tuple(Refusal.of(r.label, "rectifier", r.refused) for r in findings.refused)
    return Inspection(
        name=name,
        rows=tuple(rows),
        refusals=refusals,
        side=side_of(findings.view, dims),
        samples=0 if measurement is None else measurement.samples,
        notes=(*_notes_on(findings.model), *findings.notes, *(() if measurement is None else measurement.notes)),
        environment=environment(options.config),
        measurement=measurement,
        drifts=() if measurement is None else drifted(findings.rectifiers, measurement, options),
    )


def _row(
    findings: Findings, rectifier: Rectifier, found: Decision | Undecided, removed: frozenset[str]
) -> RectifierRow:
    key, measurement = rectifier.key, findings.measurement
    proved = findings.proofs[key][0] if key in findings.proofs else None
    if measurement is None or key not in measurement.counts:
        return RectifierRow(rectifier, None, found, key in removed, proved=proved)
    counts = measurement.counts[key]
    return RectifierRow(
        rectifier,
        None if key in measurement.partial else counts,
        found,
        key in removed,
        proved=proved,
        seen=counts.observations,
        samples=measurement.seen.get(key, 0),
        lines=measurement.lines.get(key),
        classes=measurement.classes.get(key),
    )


def _notes_on(model: Model) -> Iterator[str]:
    if model.functions:
        yield "calls of local functions are kept as they are; --inline-functions puts their operators in their places"
    count = count_bodies(model)
    if count:
        yield f"nothing is measured in the bodies of If, Loop and Scan ({count} here): what goes there is proved"


def side_of(view: GraphView, dims: Mapping[str, int] | None = None) -> Side:
    """Size and number of rectifiers of a graph; a symbolic batch that `dims` leaves open is one sample."""
    found, refused = find_rectifiers(view)
    first = (view.tensors[name].shape or (None,) for name in view.inputs)
    batch = {shape[0]: BATCH_SIZE for shape in first if shape and isinstance(shape[0], str)}
    return Side(model_size(view, batch | dict(dims or {})), len(found) + len(refused))


def why_not_runnable(model: Model, options: Options) -> Refused | None:
    """onnxruntime's reason, in one line, when it cannot run the model."""
    try:
        open_session(model, options.config)
    except UnsupportedError as error:
        return Refused(str(error), "install what is named, or use --latency macs")
    return None
