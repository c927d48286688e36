"""What data tell about a model: measured now, or recorded before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.drift import Drift, check_same_model, drifts
from onnx_nepenthe.errors import Refused, UsageError
from onnx_nepenthe.graph.serial import Model, digest
from onnx_nepenthe.linearise import NEEDS_DATA, Linearised, Support, linearise
from onnx_nepenthe.measure import Collect, Measurement, measure
from onnx_nepenthe.options import Options
from onnx_nepenthe.prove import UNPROVED
from onnx_nepenthe.providers import plain_name
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.session import check_provider, open_session
from onnx_nepenthe.sources import Part, Source, open_source
from onnx_nepenthe.sources.split import part_size

PROVED_ONLY = Refused("no proof, and data were not to decide", "leave out --proved-only")
Proof = tuple[npt.NDArray[np.int64], str]
"""The proved piece per channel, and the argument."""


def open_data(model: Model, options: Options) -> Source | None:
    """The data, None without.

    Raises:
        UnreadableError, UsageError: from the data; or none to compare a measurement with; or no such provider.
    """
    check_provider(options.config.provider)
    if options.against is not None and options.data is None:
        raise UsageError("a measurement is compared with new data; give --data")
    if options.data is None:
        return None
    session = open_session(model, replace(options.config, optimise=False))
    return open_source(options.data, session.inputs, replace(options.source, seed=options.seed), session.outputs)


def gather(
    model: Model,
    rectifiers: tuple[Rectifier, ...],
    proofs: Mapping[str, Proof],
    source: Source | None,
    options: Options,
    *,
    scan: bool,
) -> Measurement | None:
    """What is known from data: measured before, or now; None without.

    Args:
        model: not changed.
        rectifiers: of the model.
        proofs: by rectifier key; channels proved need no data.
        source: the data, or None.
        options: of the run.
        scan: what `options.scan` is unless it says.

    Raises:
        UsageError: a measurement of another model, or without the statistics that are asked for.
        UnreadableError, UnsupportedError: from measuring.
    """
    recorded = options.measurement
    if recorded is not None:
        _check_fits(recorded, model, rectifiers)
        _check_holds(recorded, options)
        return recorded
    return None if source is None else _measure(model, rectifiers, proofs, source, options, scan)


def drifted(rectifiers: tuple[Rectifier, ...], found: Measurement, options: Options) -> tuple[Drift, ...]:
    """The decisions of `options.against` that `found` contradicts; () without.

    Raises:
        UsageError: the two are not of one model.
    """
    return () if options.against is None else drifts(rectifiers, options.against, found)


def decide_all(
    rectifiers: tuple[Rectifier, ...],
    proofs: Mapping[str, Proof],
    measurement: Measurement | None,
    options: Options,
) -> Linearised:
    """The decisions that proofs and a measurement admit."""
    if measurement is None:
        return linearise(rectifiers, proofs, {})
    if options.proved_only:
        found = linearise(rectifiers, proofs, {})
        undecided = {key: replace(one, refusal=_with_data(one.refusal)) for key, one in found.undecided.items()}
        return replace(found, undecided=undecided)
    support = Support(measurement.seen, measurement.partial, options.max_flip_rate)
    return linearise(rectifiers, proofs, measurement.counts, support)


def _with_data(refusal: Refused) -> Refused:
    """Why there is no decision where there are data that must not decide."""
    return PROVED_ONLY if refusal == NEEDS_DATA else refusal


def _check_fits(measurement: Measurement, model: Model, rectifiers: tuple[Rectifier, ...]) -> None:
    check_same_model(measurement.model_hash, digest(model))
    for rectifier in rectifiers:
        counts = measurement.counts.get(rectifier.key)
        if counts is not None and len(counts.counts) != rectifier.activation.regimes:
            raise UsageError(f"the measurement has other regimes of {rectifier.label}; measure again")


def _check_holds(measurement: Measurement, options: Options) -> None:
    collected = measurement.settings.get("collect", "")
    for is_wanted, name, option in (
        (options.line_sums, "lines", "--line-sums"),
        (options.by_class, "classes", "--by-class"),
    ):
        if is_wanted and name not in collected.split("+"):
            raise UsageError(f"the measurement was made without {option} ({collected}); measure again with it")


def notes_on_settings(options: Options) -> tuple[str, ...]:
    """What was measured otherwise than this run would, in words.

    It is harmless where a rectifier is continuous: kernels differ by rounding, so z is as close to a knot as that
    where they put it on another side of it, and so is what a line gives instead. The result is verified in any case.
    """
    own = {"provider": plain_name(options.config.provider), "optimise": str(options.config.optimise)}
    notes = []
    for what, recorded in (("the measurement", options.measurement), ("the earlier measurement", options.against)):
        for name, value in own.items():
            was = value if recorded is None else recorded.settings.get(name, value)
            if was != value:
                notes.append(f"{what} was made with {name} {was}, this run has {value}: values may differ by rounding")
    return tuple(notes)


def _measure(
    model: Model,
    rectifiers: tuple[Rectifier, ...],
    proofs: Mapping[str, Proof],
    source: Source,
    options: Options,
    scan: bool,
) -> Measurement:
    every = options.line_sums or options.by_class
    wanted = options.scan if options.scan is not None else scan and not every
    part: Part = "calibration" if options.against is None else "all"
    count = source.count()
    total = None if count is None else min(part_size(count, part), options.limit or count)
    return measure(
        model,
        rectifiers,
        source,
        config=options.config,
        batch=options.batch,
        limit=options.limit,
        part=part,
        collect=Collect(scan=wanted, lines=options.line_sums, classes=options.by_class),
        proved={key: pieces != UNPROVED for key, (pieces, _) in proofs.items()},
        progress=lambda done: options.progress("measuring", done, total),
    )
